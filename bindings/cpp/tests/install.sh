#!/bin/sh
# Installs the library into a temporary folder, moves it, builds examples/cpp against it by CMake and by pkg-config, and
# compares their images with that of the C example, byte for byte.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }

quietly "${MAKE:-make}" -C "$root" install PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu DESTDIR="$work/first"
mv "$work/first" "$work/moved"
tree=$work/moved/usr libdir=$work/moved/usr/lib/x86_64-linux-gnu

# By CMake, which finds it in a tree that was moved.
quietly cmake -S "$root/examples/cpp" -B "$work/cmake" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$tree" \
    -DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror"
quietly cmake --build "$work/cmake" -j 2
grep -q "^mcm_DIR:PATH=$libdir/cmake/mcm\$" "$work/cmake/CMakeCache.txt"

# By pkg-config, and the C example to compare with.
mkdir "$work/bin" "$work/c"
export PKG_CONFIG_PATH="$libdir/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/moved"
quietly "${MAKE:-make}" -C "$root/examples/cpp" OUT="$work/bin"
quietly "${MAKE:-make}" -C "$root/examples/c" OUT="$work/c" "$work/c/session"

export LD_LIBRARY_PATH="$libdir"
for seed in 1 7; do
    quietly "$work/c/session" "$root/examples/fashion" "$work/c.png" $seed
    for program in cmake/session bin/session cmake/own_loop; do
        quietly "$work/$program" "$root/examples/fashion" "$work/cpp.png" $seed
        cmp "$work/c.png" "$work/cpp.png"
    done
done
echo "examples/cpp draw what examples/c draws"

# What an example says if its files are missing, or its output cannot be written.
for arguments in "$work/nowhere $work/out.png" "$root/examples/fashion $work/nowhere/out.png"; do
    # shellcheck disable=SC2086
    if "$work/bin/session" $arguments > "$work/log" 2> "$work/error"; then echo "no error: $arguments"; exit 1; fi
    [ "$(wc -l < "$work/error")" = 1 ] && grep -q "$work/nowhere" "$work/error"
done

# Versions: the same minor version serves, another does not.
probe() { # version found|missing
    mkdir -p "$work/probe"
    printf 'cmake_minimum_required(VERSION 3.16)\nproject(probe CXX)\nfind_package(mcm %s CONFIG QUIET)\n%s\n' "$1" \
        'message(STATUS "found: ${mcm_FOUND} ${mcm_VERSION}")' > "$work/probe/CMakeLists.txt"
    rm -rf "$work/probe/build"
    quietly cmake -S "$work/probe" -B "$work/probe/build" -DCMAKE_PREFIX_PATH="$tree" \
        -DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu -DCMAKE_CXX_COMPILER_WORKS=1
    case $2 in
    found) grep -q "found: 1 $version" "$work/log" ;;
    missing) grep -q "found: 0" "$work/log" ;;
    esac || { echo "find_package(mcm $1): expected $2"; cat "$work/log"; exit 1; }
}
version=$(sed -n 's/^VERSION *:= *//p' "$root/Makefile")
minor=${version%.*}
later=${minor%.*}.$((${minor#*.} + 1))
probe "" found
probe "$minor" found
probe "$version" found
probe "$version EXACT" found
probe "$minor.99" missing
probe "$later" missing
[ "${minor%.*}" -gt 0 ] || probe 0.0 missing # before 1.0 minor versions differ
probe $((${minor%.*} + 1)) missing
probe "$minor...$later" found
probe "$later...9" missing
probe "$minor COMPONENTS cpp" missing
rm "$tree/include/mcm.hpp"
probe "$minor" missing
echo "find_package(mcm): passed"

# Nothing is left behind.
quietly "${MAKE:-make}" -C "$root" uninstall PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu DESTDIR="$work/moved"
left=$(find "$work/moved" ! -type d -o -name mcm)
[ -z "$left" ] || { echo "uninstall left: $left"; exit 1; }
echo "installed C++: passed"
