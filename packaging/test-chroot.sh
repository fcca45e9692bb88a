#!/bin/sh
# The Debian packages of dist/, tried as a new user would: in a clean Debian each is installed by apt alone, and an
# example of it draws; the pictures must be the same. Then all are purged, and nothing may be left.
#
#   test-chroot.sh [FOLDER]   as root. The system is made in FOLDER (default build/chroot) and removed afterwards.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "error: debootstrap and chroot need root" >&2; exit 1; }
chroot=$(realpath -m "${1:-build/chroot}")
[ ! -e "$chroot" ] || { echo "error: $chroot exists already" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Release: bookworm' 2>/dev/null | head -n 1)
log=$PWD/build/chroot.log
. Tests/check.sh

finish() {
    umount "$chroot/proc" 2>/dev/null || true
    # A mount that is still there is not walked into.
    rm -rf --one-file-system "$chroot"
}
trap finish EXIT
trap 'exit 1' INT TERM

# inside COMMAND...: as root in the new system. user COMMAND...: as someone who may write to /pictures and their home.
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy=$http_proxy} chroot "$chroot" "$@"; }
user() { env -i PATH=/usr/bin:/bin:/usr/sbin HOME=/home/user LC_ALL=C.UTF-8 chroot --userspec=user "$chroot" \
    sh -c 'cd && "$@"' sh "$@"; }
install_packages() { inside apt-get install -y -qq --no-install-recommends "$@"; }

# The repository: apt resolves among Debian's packages and ours.
debootstrap --variant=minbase bookworm "$chroot" "${mirror:-http://deb.debian.org/debian}" > "$log" || { cat "$log"; exit 1; }
mount -t proc proc "$chroot/proc"
mkdir "$chroot/packages"
cp dist/*.deb "$chroot/packages"
(cd "$chroot/packages" && dpkg-scanpackages --multiversion . > Packages 2> /dev/null)
echo 'deb [trusted=yes] file:/packages ./' > "$chroot/etc/apt/sources.list.d/packages.list"
inside apt-get update -qq
inside useradd --create-home user
mkdir "$chroot/pictures"
mkdir "$chroot/home/user/given"
cp -r examples/fashion examples/python "$chroot/home/user/given"
mkdir "$chroot/home/user/given/bindings" "$chroot/home/user/given/examples"
cp -r bindings/rust "$chroot/home/user/given/bindings"
cp -r examples/rust "$chroot/home/user/given/examples"
inside chown -R user /pictures /home/user

# Python, with what it asks for and nothing else.
check "python3-mcm is installed" install_packages python3-mcm
check "it is a Python package of its version" user python3 -c "
import importlib.metadata, mcm
assert importlib.metadata.version('libmcm') == mcm.__version__, mcm.__version__
assert mcm.__file__.startswith('/usr/lib/python3/'), mcm.__file__"
check "the Python example draws" user python3 given/python/session.py given/fashion /pictures/python.png 7
inside apt-get purge -y -qq --auto-remove python3-mcm libmcm1 > "$log" 2>&1

# The command line.
if grep -q '^Package: mcm-tools' "$chroot/packages/Packages"; then
    check "mcm-tools is installed" install_packages mcm-tools
    check "mcm tells its version" user mcm --version
    check "mcm generate draws" user mcm generate given/fashion/base --module given/fashion/module.mcm.safetensors \
        --condition sketch=given/fashion/conditions/00_sketch.png \
        --condition segmentation=given/fashion/conditions/00_segmentation.png \
        --scheduler ddim --steps 25 --seed 7 --out /pictures/tools.png
    check "there is a man page" test -e "$chroot/usr/share/man/man1/mcm.1.gz"
    inside apt-get purge -y -qq --auto-remove mcm-tools > "$log" 2>&1
fi

# C, and C++ if its header is there, as the documentation says it.
check "libmcm-dev is installed" install_packages libmcm-dev gcc g++ libc6-dev make pkg-config
check "pkg-config knows it" user pkg-config --print-errors --exact-version "$(sed -n 's/^VERSION *:= *//p' Makefile)" mcm
check "the C examples are built" user sh -c 'cp -r /usr/share/doc/libmcm-dev/examples . && make -C examples/c'
for program in session generate own_loop; do
    check "the C example $program draws" user examples/c/$program examples/fashion /pictures/c_$program.png 7
done
if [ -e "$chroot/usr/include/mcm.hpp" ]; then
    check "the C++ examples are built" user make -C examples/cpp
    check "the C++ example draws" user examples/cpp/session examples/fashion /pictures/cpp.png 7
    check "cmake is installed" install_packages cmake
    check "find_package(mcm) finds it" user sh -c 'cmake -S examples/cpp -B cpp && cmake --build cpp'
    check "the C++ example of CMake draws" user cpp/session examples/fashion /pictures/cmake.png 7
fi

# Rust: the crates from the sources, with Debian's cargo and the library that pkg-config finds.
check "Debian's cargo is installed" install_packages cargo
check "the Rust example is built" user cargo build --offline --manifest-path given/bindings/rust/Cargo.toml \
    --target-dir rust --example session
check "the Rust example draws" user rust/debug/examples/session examples/fashion /pictures/rust.png 7

# The pictures: the command line's has its recipe beside the pixels, so it is read.
cd "$chroot/pictures"
for picture in *.png; do
    [ "$picture" = tools.png ] || check "$picture is c_session.png" cmp c_session.png "$picture"
done
cd - > /dev/null
check "python3-mcm is installed beside libmcm-dev" install_packages python3-mcm
check "the packaged Python example finds its model" user python3 /usr/share/doc/libmcm-dev/examples/python/session.py
if [ -e "$chroot/pictures/tools.png" ]; then
    check "mcm-tools is installed beside them" install_packages mcm-tools
    check "tools.png has the pixels of c_session.png" user python3 -c "
import mcm, numpy
numpy.testing.assert_array_equal(mcm.read_png('/pictures/tools.png'), mcm.read_png('/pictures/c_session.png'))"
    check "mcm draws tools.png again from itself" user mcm generate --from /pictures/tools.png --out again.png
    check "the same file" user cmp /pictures/tools.png again.png
fi

# No trace. Everything that we install has mcm in its path.
check "all are purged" inside sh -c 'apt-get purge -y -qq $(dpkg-query -W -f "\${Package} " "*mcm*")'
check "dpkg knows none of them" sh -c "! chroot '$chroot' dpkg-query -W '*mcm*' 2>/dev/null | grep ."
check "nothing is left" sh -c "! find '$chroot' -xdev -path '$chroot/home' -prune -o -path '$chroot/packages' -prune -o \
    -path '$chroot/proc' -prune -o -path '*mcm*' -print | sed 's|^$chroot||' | grep -v '^/var/log/' | grep mcm"
check "the loader knows no libmcm" sh -c "! chroot '$chroot' ldconfig -p | grep mcm"

sums
