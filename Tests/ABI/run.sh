#!/bin/sh
# run.sh LIBDIR [part of a test's name]: builds the tests of the C ABI against include/ and LIBDIR, and runs them.
# CFLAGS and RUN (e.g. "valgrind -q") come from the environment.
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
libdir=$(cd "$1" && pwd) || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
build="${CC:-gcc} -std=c99 -Wall -Wextra -Werror -O1 -g $CFLAGS -I $root/include"

if [ -z "$2" ]; then "$here/header.sh" "$libdir" > "$work/header.log"; cat "$work/header.log"; fi
# -rdynamic: the library is to find this program's malloc, see allocations.h.
$build "$here"/*.c -o "$work/abi" -rdynamic -L "$libdir" -Wl,-rpath,"$libdir" -lmcm -lm -lpthread -ldl || exit 1
$build "$here"/plugin/host.c -o "$work/host" -lpthread -ldl || exit 1
mkdir "$work/scratch"
$RUN "$work/abi" "$root/examples/fashion" "$work/scratch" "$2" > "$work/abi.log" 2>&1
status=$?
cat "$work/abi.log"
$RUN "$work/host" "$libdir/libmcm.so.1" "$root/examples/fashion" "$2" > "$work/host.log" 2>&1 || status=1
cat "$work/host.log"

# Every program ends with such a line; without one, something ended early.
sum() {
    cat "$work"/*.log | sed -n "s/^\([0-9]*\) passed, \([0-9]*\) failed$/\\$1/p" | awk '{ n += $1 } END { print n + 0 }'
}
passed=$(sum 1) failed=$(sum 2)
[ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
