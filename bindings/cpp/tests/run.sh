#!/bin/sh
# run.sh LIBDIR [part of a test's name]: builds the tests of mcm.hpp against LIBDIR with g++ and clang++, as C++17 and
# C++20, in both styles of errors, and runs them with the address, leak and undefined behaviour sanitizers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
libdir=$(cd "$1" && pwd)
part=${2:-}
swift=$(command -v swift || echo /opt/swift/usr/bin/swift)
clang=$(command -v clang++ || echo "$(dirname "$swift")/clang++") # Swift's toolchain has one
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-g -O0 -Wall -Wextra -Wpedantic -Wshadow -Werror -I $root/include -I $root/bindings/cpp"
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=all"

# Every function of mcm.h is behind some function here, but for those that others contain, or that C++ has no need of.
for name in $(grep -o '\bmcm_[a-z0-9_]*(' "$root/include/mcm.h" | tr -d '(' | sort -u); do
    case $name in
    mcm_model_predict | mcm_scheduler_create | mcm_scheduler_step | *_options_init | mcm_image_init | \
        mcm_attachment_init) ;;
    *) grep -qrw "$name" "$root/bindings/cpp/mcm" "$root/bindings/cpp/mcm.hpp" ||
        { echo "mcm.hpp has no $name"; exit 1; } ;;
    esac
done

# Models to test with are those of Tests/ABI.
for source in weights tiny drawing tiny_session latent training; do
    ${CC:-gcc} -std=c99 -O1 -g -I "$root/include" -c "$root/Tests/ABI/$source.c" -o "$work/$source.o"
done
${CC:-gcc} -std=c99 -g -I "$root/include" -c "$here/fixtures.c" -o "$work/fixtures.o"

# name, compiler, flags, sources: one program, of objects that two compilers make at a time.
suite() {
    name=$1 compiler=$2 more=$3
    shift 3
    mkdir "$work/$name"
    printf '%s\n' "$@" | xargs -P 2 -I {} $compiler $flags $more -c "$here/{}.cpp" -o "$work/$name/{}.o"
    # In each program, before the others, so that inline functions that both had would be this file's.
    $compiler $flags $more -fno-exceptions -c "$here/test_no_exceptions.cpp" -o "$work/$name/0.o"
    $compiler $more -fuse-ld=bfd "$work/$name"/*.o "$work"/*.o -o "$work/$name/tests" -L "$libdir" \
        -Wl,-rpath,"$libdir" -lmcm -lm -lpthread
    mkdir "$work/$name/scratch"
    printf '%s: ' "$name"
    "$work/$name/tests" "$root/examples/fashion" "$work/$name/scratch" "$part"
}
# What the suites below leave out of compilers and standards.
"${CXX:-g++}" -std=c++20 $flags -fsyntax-only "$here/test_session.cpp"
"$clang" -std=c++17 $flags -fsyntax-only "$here/test_session.cpp"
"${CXX:-g++}" -std=c++17 -fno-exceptions $flags -fsyntax-only "$here/test_results.cpp"
"$clang" -std=c++20 -fno-exceptions $flags -fsyntax-only "$here/test_results.cpp"

all="main test_views test_options test_session test_model test_training test_results"
suite "g++, C++17" "${CXX:-g++}" "-std=c++17 $sanitize" $all
suite "clang++, C++20" "$clang" "-std=c++20 $sanitize" $all
suite "g++, C++20, no exceptions" "${CXX:-g++}" "-std=c++20 -fno-exceptions $sanitize" main test_results

# A program with a library of another version: its own mcm_version goes before the library's.
"${CXX:-g++}" -std=c++17 $flags "$here/test_version.cpp" -o "$work/version" -L "$libdir" -Wl,-rpath,"$libdir" -lmcm
"$work/version"
# And one without a library: the system's linker says so in one line.
"${CXX:-g++}" -std=c++17 $flags "$here/test_version.cpp" -o "$work/without" -L "$libdir" -lmcm
if LD_LIBRARY_PATH= "$work/without" 2> "$work/log"; then echo "a program ran without libmcm.so.1"; exit 1; fi
grep -q "libmcm.so.1: cannot open shared object file" "$work/log" || { cat "$work/log"; exit 1; }
