#!/bin/sh
# ldconfig.sh LIBRARY: tells the system of a library that was just installed; if it does not find it then, says what to
# do.
PATH=$PATH:/usr/sbin:/sbin
command -v ldconfig >/dev/null || exit 0
[ "$(id -u)" != 0 ] || ldconfig
# /lib and /usr/lib may be one folder: the files are compared.
for found in $(ldconfig -p | sed -n "s|.*$(basename "$1") .* => ||p"); do
    [ ! "$found" -ef "$1" ] || exit 0
done
echo "Note: the system does not find $1 yet. Run ldconfig as root if $(dirname "$1") is listed in /etc/ld.so.conf.d;"
echo "else link programs with -Wl,-rpath,$(dirname "$1"), or set LD_LIBRARY_PATH=$(dirname "$1")."
