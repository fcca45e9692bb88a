#!/bin/sh
# version.sh          checks that every place that tells the version tells that of the Makefile
# version.sh 0.2.0    writes this version into all of them
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^VERSION *:= *//p' Makefile)
number='[0-9]*\.[0-9]*\.[0-9]*'

# places: file, and the text around the number as two expressions of sed. Files that are not there yet tell nothing.
places() {
    cat <<END
Makefile|^VERSION *:= *|
include/mcm.h|^#define MCM_VERSION_MAJOR |
include/mcm.h|^#define MCM_VERSION_MINOR |
include/mcm.h|^#define MCM_VERSION_PATCH |
include/mcm.h|^/\* The same as text, "|"
Sources/MCM/Status.swift|mcm_version_string().*text("|")
bindings/python/mcm/__init__.py|^__version__ = "|"
bindings/python/mcm/_native.py|^VERSION_MAJOR = |
bindings/python/mcm/_native.py|^VERSION_MINOR = |
Sources/LibMCM/LibMCM.swift|static let version = "|"
bindings/rust/mcm/Cargo.toml|^version = "|"
bindings/rust/mcm/Cargo.toml|^mcm-sys = .* version = "|"
bindings/rust/mcm-sys/Cargo.toml|^version = "|"
bindings/rust/mcm-sys/src/lib.rs|/// The same as text, "|"
bindings/rust/mcm-sys/src/lib.rs|^pub const MCM_VERSION_MAJOR: u32 = |
bindings/rust/mcm-sys/src/lib.rs|^pub const MCM_VERSION_MINOR: u32 = |
bindings/rust/mcm-sys/src/lib.rs|^pub const MCM_VERSION_PATCH: u32 = |
examples/cpp/CMakeLists.txt|^find_package(mcm | CONFIG
docs/cpp.md|^find_package(mcm | CONFIG
bindings/rust/Cargo.lock|^version = "|"
packaging/debian/changelog|^libmcm (|-[0-9]*)
CHANGELOG.md|^## |,.*
END
}

# part FILE BEFORE: of the version, as this place has it.
part() {
    case $2 in
    *MAJOR*) echo "$version" | cut -d. -f1 ;;
    *MINOR*) echo "$version" | cut -d. -f2 ;;
    *find_package*) echo "$version" | cut -d. -f1,2 ;;
    *PATCH*) echo "$version" | cut -d. -f3 ;;
    *) echo "$version" ;;
    esac
}

if [ $# -gt 0 ]; then
    version=$1
    echo "$version" | grep -qx "$number" || { echo "error: version $version, expected MAJOR.MINOR.PATCH" >&2; exit 2; }
    places | grep -v '^packaging/debian\|^CHANGELOG' | while IFS='|' read -r file before after; do
        [ ! -e "$file" ] || sed -i "s|\($before\)[0-9.]*[0-9]\($after\)|\1$(part "$file" "$before")\2|" "$file"
    done
    echo "Now write the entries of $version in CHANGELOG.md and packaging/debian/changelog."
    exit
fi

passed=0 failed=0
while IFS='|' read -r file before after; do
    [ -e "$file" ] || continue
    expected=$(part "$file" "$before")
    found=$(sed -n "s|$before\([0-9.]*[0-9]\)$after.*|\1|p" "$file" | head -n 1 | grep -o '[0-9.]*$' || true)
    if [ "$found" = "$expected" ]; then
        passed=$((passed + 1))
    else
        echo "FAIL $file: version ${found:-missing}, expected $expected, which is the Makefile's"
        failed=$((failed + 1))
    fi
done <<END
$(places)
END
echo "version $version"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
