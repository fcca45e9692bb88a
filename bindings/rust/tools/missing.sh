#!/bin/sh
# missing.sh LIBDIR: what a build says without the library or with another one, and a program with another one; and that
# pkg-config's answer suffices for a build.
cd "$(dirname "$0")/.."
libdir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR="$work/target" PKG_CONFIG_LIBDIR="$work"

# says WORDS COMMAND...: the command fails, and says this in one line.
says() {
    words=$1
    shift
    if "$@" > "$work/log" 2>&1; then echo "'$*' did not fail, expected: $words"; exit 1; fi
    grep -qF "$words" "$work/log" || { cat "$work/log"; echo "expected: $words"; exit 1; }
}
build="cargo build -q -p mcm-sys"
config() { printf 'Name: mcm\nDescription: test\nVersion: %s\nLibs: -L%s -lmcm\n' "$1" "$libdir" > "$work/mcm.pc"; }

mkdir "$work/empty"
MCM_LIB_DIR=$work/empty says "error: MCM_LIB_DIR: $work/empty/libmcm.so does not exist, expected libmcm there" $build
unset MCM_LIB_DIR
says "error: pkg-config does not know mcm: install libmcm, or set MCM_LIB_DIR to the folder of libmcm.so" $build
PKG_CONFIG=$work/none says "error: $work/none cannot be run: install libmcm" $build
config 0.2.0
says "error: pkg-config: libmcm 0.2.0 is installed, expected 0.1" $build
config 0.1.9
cargo run -q --example session ../../examples/fashion "$work/out.png" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# A library of another version that has all functions and stops the process in each but for its version.
{
    echo '#include <stdlib.h>'
    grep -oE '\bmcm_[a-z0-9_]+\(' ../../include/mcm.h | sort -u | grep -vE '^(mcm_version|mcm_last_error)\(' |
        sed 's/\(.*\)(/void \1(void) { abort(); }/'
    echo 'unsigned mcm_version(void) { return 2000003; }'
    echo 'const char *mcm_last_error(void) { return ""; }'
} > "$work/other.c"
mkdir "$work/other"
${CC:-cc} -shared -fPIC -Wl,-soname,libmcm.so.1,--version-script=../../Sources/MCM/mcm.map \
    "$work/other.c" -o "$work/other/libmcm.so.1" || exit 1
LD_LIBRARY_PATH=$work/other says "libmcm 2.0.3 was loaded, expected 0.1" "$work/target/debug/examples/session"
[ "$(wc -l < "$work/log")" = 1 ] || { cat "$work/log"; exit 1; }
says "libmcm.so.1: cannot open shared object file" "$work/target/debug/examples/session"
echo "rust: a missing library or another version is said in one line"
