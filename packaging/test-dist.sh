#!/bin/sh
# test-dist.sh VERSION: the tarballs of dist/, tried as a new user would: the sources are the same bytes when they are
# packed again, and build and install without git and (as root) a network; the binaries work wherever they are unpacked.
set -eu
cd "$(dirname "$0")/.."
sources=$PWD/dist/libmcm-$1.tar.gz
binaries=$PWD/dist/libmcm-$1-linux-$(uname -m).tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$sources" "$work/sources.tar.gz"
packaging/dist.sh "$1" > /dev/null
cmp "$sources" "$work/sources.tar.gz"
echo "ok   sources: packed again, the same bytes"

mkdir "$work/anywhere"
tar -C "$work/anywhere" -xzf "$binaries"
home=$(echo "$work"/anywhere/libmcm-*)
mkdir "$work/bin"
PKG_CONFIG_PATH=$home/lib/pkgconfig ${MAKE:-make} -s -C examples/c OUT="$work/bin" > /dev/null
LD_LIBRARY_PATH=$home/lib "$work/bin/session" examples/fashion "$work/binaries.png" 7 > /dev/null
echo "ok   binaries: unpacked, compiled with, run"

cd "$work"
tar -xzf "$sources"
cd "libmcm-$1"
# It builds, installs into a folder, and builds and runs the C examples against that.
offline=
if unshare --net true 2> /dev/null; then offline="unshare --net"; fi
$offline Tests/ABI/install.sh > "$work/log" || { cat "$work/log"; exit 1; }
echo "ok   sources: ${offline:+without a network }built, installed, compiled with, run"
LD_LIBRARY_PATH=build "$work/bin/session" examples/fashion "$work/sources.png" 7 > /dev/null
cmp "$work/binaries.png" "$work/sources.png"
echo "ok   both draw the same picture"
echo "4 passed, 0 failed"
