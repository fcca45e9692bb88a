#!/bin/sh
# Installs the library into a temporary folder, builds examples/c against it through pkg-config alone, and compares what
# the three levels draw, bit for bit.
set -e
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

${MAKE:-make} -C "$root" install PREFIX=/usr DESTDIR="$work/root" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
config=$(find "$work/root" -name mcm.pc)
export PKG_CONFIG_PATH="$(dirname "$config")" PKG_CONFIG_SYSROOT_DIR="$work/root"
libdir=$work/root$(PKG_CONFIG_SYSROOT_DIR= pkg-config --variable=libdir mcm)
echo "pkg-config: libmcm $(pkg-config --modversion mcm), $(pkg-config --cflags --libs mcm)"
[ -e "$libdir/libmcm.so.1" ] && [ -e "$libdir/libmcm.so" ]

mkdir "$work/bin"
${MAKE:-make} -s -C "$root/examples/c" OUT="$work/bin"
for program in generate session own_loop; do
    LD_LIBRARY_PATH=$libdir "$work/bin/$program" "$root/examples/fashion" "$work/$program.png" 7 > "$work/log" ||
        { cat "$work/log"; echo "$program failed"; exit 1; }
    tail -n 1 "$work/log"
done
cmp "$work/generate.png" "$work/session.png"
cmp "$work/generate.png" "$work/own_loop.png"
echo "the three levels draw the same image"

# An edit between steps shows.
LD_LIBRARY_PATH=$libdir "$work/bin/session" "$root/examples/fashion" "$work/edited.png" 7 edit > "$work/log"
if cmp -s "$work/generate.png" "$work/edited.png"; then echo "the edited image is the same"; exit 1; fi

# A module is trained and drawn with.
LD_LIBRARY_PATH=$libdir "$work/bin/train" "$root/examples/fashion" "$work/module" "$work/train.png" 4 > "$work/log" ||
    { cat "$work/log"; echo "train failed"; exit 1; }
[ -s "$work/module" ] && [ -s "$work/train.png" ]
sed 's/^/train: /' "$work/log"
echo "installed library: passed"
