#!/bin/sh
# dist-binary.sh VERSION: what `make install` installs, as dist/libmcm-VERSION-linux-x86_64.tar.gz. It works wherever it
# is unpacked: mcm.pc finds itself.
set -eu
cd "$(dirname "$0")/.."
name=libmcm-$1-linux-$(uname -m)
rm -rf build/binary
${MAKE:-make} -s install DESTDIR="$PWD/build/binary" PREFIX="/$name" LIBDIR="/$name/lib"
sed -i 's|^prefix=.*|prefix=${pcfiledir}/../..|' \
    "build/binary/$name/lib/pkgconfig/mcm.pc"
mkdir -p dist
tar -C build/binary --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
    --mtime="@${SOURCE_DATE_EPOCH:-0}" -c "$name" |
    gzip -9n > "dist/$name.tar.gz.part"
mv "dist/$name.tar.gz.part" "dist/$name.tar.gz"
echo "dist/$name.tar.gz"
