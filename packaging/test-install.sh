#!/bin/sh
# `make install` in the layouts that there are: again changes nothing, and `make uninstall` leaves nothing.
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. "$root/Tests/check.sh"

# What lies in $tree.
files() { (cd "$tree" && find . ! -type d -exec ls -l --time-style=+ {} + | sort); }

# layout NAME VARIABLE... LIBDIR=FOLDER: with these variables of make.
layout() {
    layout=$1 tree=$work/$1
    shift
    for libdir; do :; done
    libdir=$tree${libdir#LIBDIR=}
    check "$layout: install" ${MAKE:-make} -C "$root" install DESTDIR="$tree" "$@"
    files > "$work/once"
    check "$layout: install again" ${MAKE:-make} -C "$root" install DESTDIR="$tree" "$@"
    files > "$work/twice"
    check "$layout: the same files" diff "$work/once" "$work/twice"
    check "$layout: the library's links" test "$libdir/libmcm.so" -ef "$libdir/libmcm.so.1"
    check "$layout: mcm.pc knows its folder" \
        test "$(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --variable=libdir mcm)" = "${libdir#"$tree"}"
    check "$layout: all may read it" sh -c "! find '$tree' ! -type l ! -perm -444 | grep ."
    check "$layout: no name of this machine's folders" sh -c \
        "! grep -rlF '$root' '$tree' --include=*.pc --include=*.cmake --include=*.h --include=*.hpp --include=*.md"
    check "$layout: uninstall" ${MAKE:-make} -C "$root" uninstall DESTDIR="$tree" "$@"
    check "$layout: nothing is left" sh -c \
        "! find '$tree' ! -type d | grep . && ! find '$tree/'* -type d -name '*mcm*' ! -path '$tree/opt/mcm' | grep ."
    check "$layout: uninstall again" ${MAKE:-make} -C "$root" uninstall DESTDIR="$tree" "$@"
}

layout local PREFIX=/usr/local LIBDIR=/usr/local/lib
layout multiarch PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu
(umask 077; layout opt PREFIX=/opt/mcm LIBDIR=/opt/mcm/lib64; echo "$passed $failed" > "$work/counts")
read -r passed failed < "$work/counts"

# What others have put there stays: files beside ours, and the links of a version that was installed since.
tree=$work/shared
${MAKE:-make} -s -C "$root" install DESTDIR="$tree" > /dev/null 2>&1
mine=$tree/usr/local/share/doc/mcm/mine
echo mine > "$mine"
cp "$tree/usr/local/lib/libmcm.so.1" "$tree/usr/local/lib/libmcm.so.99.0.0"
ln -sf libmcm.so.99.0.0 "$tree/usr/local/lib/libmcm.so.1"
check "shared: uninstall" ${MAKE:-make} -C "$root" uninstall DESTDIR="$tree"
check "shared: a file beside ours" test -e "$mine"
check "shared: a later version's link" test -e "$tree/usr/local/lib/libmcm.so.1"
check "shared: nothing else" test "$(find "$tree" ! -type d | wc -l)" = 4 # libmcm.so too leads to the later version

# refused NAME VARIABLE...: make says why and does nothing, in a folder of its own.
refused() {
    what=$1
    shift
    mkdir -p "$work/$what"
    for target in install uninstall; do
        check "$what: $target is refused" sh -c \
            'cd "$0" && ! "$@" > log 2>&1 && grep -q "expected" log && rm log && [ -z "$(ls)" ]' \
            "$work/$what" ${MAKE:-make} -f "$root/Makefile" "$target" "$@"
    done
}
refused "a space in PREFIX" "PREFIX=/opt/my mcm" DESTDIR="$work/stage"
refused "a space in DESTDIR" "DESTDIR=$work/my stage"
refused "a relative PREFIX" PREFIX=stage

sums
