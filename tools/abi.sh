#!/bin/sh
# The ABI of mcm.h, as libabigail describes it.
#
#   abi.sh dump FILE              write it
#   abi.sh check FILE [LIBRARY]   compare with FILE, which is the last release's: fails if programs that were built
#                                 against that would break. Also that LIBRARY exports what the header declares.
#
# The library is written in Swift and has no debug information of C, so the description is of a stub: a C library that
# defines every function of the header, linked with the library's own version script. The header's constants become an
# enum of it. MCM_HEADER is another header to read, for the test.
#
# May change: functions, constants, and fields at the end of a struct are added. Everything else breaks programs.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
header=${MCM_HEADER:-$root/include/mcm.h}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v abidw >/dev/null || { echo "error: abidw is missing; on Debian: apt-get install abigail-tools" >&2; exit 1; }

# describe FILE: the ABI of $header.
describe() {
    {
        cat "$header"
        # Numbers only: no initialisers, no MCM_VERSION, which grows.
        echo 'enum mcm_constants {'
        sed -n 's/^#define \(MCM_[A-Z0-9_]*\) -\{0,1\}[0-9].*/\1/p' "$header" | grep -v '^MCM_VERSION' |
            sed 's/.*/    constant_& = &,/'
        echo '};'
        echo 'enum mcm_constants mcm_constants(void) { return 0; }'
        gcc -E -P "$header" | awk '
            { text = text " " $0 }
            END {
                count = split(text, characters, "")
                for (i = 1; i <= count; i++) {
                    c = characters[i]
                    if (c == "{") depth++
                    if (c == "}") depth--
                    if (c != ";" || depth > 0) { declaration = declaration c; continue }
                    if (declaration !~ /typedef/ && declaration ~ /mcm_[a-z0-9_]+\(/)
                        print declaration " { __builtin_trap(); }"
                    declaration = ""
                }
            }'
    } > "$work/stub.c"
    # Without the name of a folder that is another each time.
    gcc -std=c11 -g -fPIC -shared -nostdlib -fdebug-prefix-map="$work"=. -o "$work/libmcm.so" "$work/stub.c" -Wl,-soname="$soname" \
        -Wl,--version-script="$root/Sources/MCM/mcm.map"
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs --type-id-style hash "$work/libmcm.so" > "$1"
}

# exports LIBRARY: its functions with their versions.
exports() {
    nm -D --defined-only --with-symbol-versions "$1" | sed -n 's/.* \(mcm_.*\)/\1/p' | grep -v '^mcm_constants@' | sort
}

soname=libmcm.so.$(sed -n 's/^ABI *:= *//p' "$root/Makefile")
command=${1:-} file=${2:-}
case $command in
dump)
    describe "$work/new.abi"
    mv "$work/new.abi" "$file"
    ;;
check)
    describe "$work/new.abi"
    python3 "$root/tools/abi_without_additions.py" "$file" "$work/new.abi" > "$work/known.abi"
    if ! abidiff --harmless --no-added-syms "$file" "$work/known.abi" > "$work/report"; then
        cat "$work/report"
        echo "error: mcm.h breaks programs that were built against $(basename "$file"), see above." \
            "Expected: only additions, or a new SONAME (CONTRIBUTING.md)" >&2
        exit 1
    fi
    if [ $# -gt 2 ]; then
        exports "$work/libmcm.so" > "$work/declared"
        exports "$3" > "$work/exported"
        diff "$work/declared" "$work/exported" || {
            echo "error: $3 does not export what mcm.h declares: < declared, > exported" >&2
            exit 1
        }
        found=$(readelf -d "$3" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
        [ "$found" = "$soname" ] || { echo "error: $3 has the SONAME $found, expected $soname" >&2; exit 1; }
    fi
    if abidiff --harmless "$file" "$work/new.abi" > "$work/report"; then
        echo "abi: mcm.h is that of $(basename "$file"), $(exports "$work/libmcm.so" | wc -l) functions"
    else
        cat "$work/report"
        echo "abi: additions, see above. A release takes them into $(basename "$file"): make abi"
    fi
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
