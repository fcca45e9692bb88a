#!/bin/sh
# setup.sh [package]...: installs what the build needs from Debian, and these packages, if anything is missing. Swift
# itself is up to the user.
set -eu
packages="build-essential binutils pkg-config libpng-dev python3 $*"
missing=
packages="$packages libcurl4 libncurses6 libsqlite3-0 libuuid1 libxml2" # Swift's toolchain
if ! command -v dpkg-query >/dev/null; then
    echo "Note: this is not Debian. Needed are what its packages $packages have." >&2
    packages=
fi
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "Installing:$missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
        echo "error: packages are missing, and only root may install them: apt-get install$missing" >&2
        exit 1
    fi
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
