#!/bin/sh
# header.sh LIBDIR: mcm.h compiles alone, and says what LIBDIR/libmcm.so exports. Prints a line per check and the sums.
here=$(cd "$(dirname "$0")" && pwd)
header=$here/../../include/mcm.h
library=$1/libmcm.so
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. "$here/../check.sh"

# The header, and every initialiser, in a file of its own.
{
    echo '#include <mcm.h>'
    echo 'int main(void) {'
    sed -n 's/^#define \(MCM_[A-Z_]*\)_INIT .*/\1/p' "$header" | while read -r name; do
        type=$(echo "$name" | tr '[:upper:]' '[:lower:]')
        echo "    $type a_$type = ${name}_INIT; (void)a_$type;"
    done
    echo '    return 0;'
    echo '}'
} > "$work/header.c"
cp "$work/header.c" "$work/header.cpp"
strict="-Wall -Wextra -Werror -pedantic -fsyntax-only -I $here/../../include"
for compiler in gcc clang; do
    command -v $compiler > /dev/null || continue
    for standard in c99 c17; do
        check "$compiler -std=$standard" $compiler -std=$standard $strict "$work/header.c"
    done
done
for compiler in g++ clang++; do
    command -v $compiler > /dev/null || continue
    # Some clangs come without the C++ library's headers.
    echo '#include <cstddef>' > "$work/empty.cpp"
    $compiler -fsyntax-only "$work/empty.cpp" 2> /dev/null || continue
    for standard in c++11 c++17; do
        check "$compiler -std=$standard" $compiler -std=$standard $strict "$work/header.cpp"
    done
done

gcc -E -P "$header" | grep -oE '\bmcm_[a-z0-9_]+\(' | tr -d '(' | sort -u > "$work/declared"
nm -D --defined-only "$library" | sed 's/.* //; s/@.*//' | grep -v '^MCM_[0-9]*$' | sort -u > "$work/exported"
check "the library exports what the header declares" diff "$work/declared" "$work/exported"

nm -D --defined-only "$library" | sed 's/.* //' | grep '^mcm_' | sort -u > "$work/versions"
sed 's/$/@@MCM_1/' "$work/declared" > "$work/expected"
check "every symbol has the version MCM_1" diff "$work/expected" "$work/versions"

readelf -d "$library" > "$work/dynamic"
check "the soname is libmcm.so.1" grep -q 'SONAME.*\[libmcm\.so\.1\]' "$work/dynamic"
check "no Swift library is needed" sh -c "! grep -E 'NEEDED.*(swift|Foundation|dispatch)' '$work/dynamic'"
check "no folder but its own is searched" sh -c "! grep -E 'RPATH|RUNPATH' '$work/dynamic' | grep -vF '[\$ORIGIN]'"

sums
