#!/bin/sh
# `make install` in the layouts that there are: again changes nothing, and `make uninstall` leaves nothing.
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# check NAME COMMAND...: the command's output is shown if it fails.
check() {
    name=$1
    shift
    if "$@" > "$work/output" 2>&1; then
        echo "ok   $name"
        passed=$((passed + 1))
    else
        cat "$work/output"
        echo "FAIL $name"
        failed=$((failed + 1))
    fi
}

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
    check "$layout: mcm.pc knows its folder" grep -qx "libdir=${libdir#"$tree"}" "$libdir/pkgconfig/mcm.pc"
    check "$layout: no name of this machine's folders" sh -c \
        "! grep -rlF '$root' '$tree' --include=*.pc --include=*.cmake --include=*.h --include=*.hpp --include=*.md"
    check "$layout: uninstall" ${MAKE:-make} -C "$root" uninstall DESTDIR="$tree" "$@"
    check "$layout: nothing is left" sh -c \
        "! find '$tree' ! -type d | grep . && ! find '$tree/'* -type d -name '*mcm*' ! -path '$tree/opt/mcm' | grep ."
    check "$layout: uninstall again" ${MAKE:-make} -C "$root" uninstall DESTDIR="$tree" "$@"
}

layout local PREFIX=/usr/local LIBDIR=/usr/local/lib
layout multiarch PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu
layout opt PREFIX=/opt/mcm LIBDIR=/opt/mcm/lib64

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
