#!/bin/sh
# setup.sh [package]...: installs what the build and the tests need from Debian, and these packages, if anything is
# missing. Swift itself must be there.
set -eu
packages="build-essential binutils pkg-config libpng-dev python3 python3-venv valgrind $*"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "Installing:$missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if ! command -v swift >/dev/null 2>&1 && ! [ -x /opt/swift/usr/bin/swift ]; then
    echo "A Swift 6.3 toolchain is needed: https://www.swift.org/install/linux" >&2
    exit 1
fi
