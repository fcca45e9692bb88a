#!/bin/sh
# The Debian packages of what `make` has built: dist/*.deb.
set -eu
cd "$(dirname "$0")/.."
rm -rf build/deb
mkdir -p build/deb/libmcm dist
cp -r packaging/debian build/deb/libmcm/debian
ln -s ../../.. build/deb/libmcm/source

cd build/deb/libmcm
if ! dpkg-checkbuilddeps 2>/dev/null; then
    echo "Installing: what debian/control says is needed"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
        dpkg-checkbuilddeps || echo "error: these are missing, and only root may install them" >&2
        exit 1
    fi
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get build-dep -y -qq --no-install-recommends ./ >/dev/null
fi
# The tools write much; it is shown if they fail. As no one is asked for a package of their own here, lintian's warning
# that no such wish is closed means nothing.
dpkg-buildpackage -us -uc -b > ../log 2>&1 || { cat ../log; exit 1; }
if command -v lintian >/dev/null; then
    lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs --allow-root ../*.changes
else
    echo "Note: lintian is not installed, so the packages are not checked."
fi
cd ../../..
rm -f dist/*.deb
cp build/deb/*.deb dist
ls dist/*.deb
