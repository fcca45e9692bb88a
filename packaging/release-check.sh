#!/bin/sh
# Whether this commit can be released: CONTRIBUTING.md has the steps.
cd "$(dirname "$0")/.." || exit 1
version=$(sed -n 's/^VERSION *:= *//p' Makefile)
. Tests/check.sh

number=$(echo "$version" | sed 's/\./\\./g')
check "everything is committed" sh -c '! git status --porcelain | grep .'
check "there is no tag v$version yet" sh -c "! git rev-parse -q --verify refs/tags/v$version"
check "every place tells version $version" packaging/version.sh
check "CHANGELOG.md begins with $version and its date" sh -c \
    "grep -m 1 '^## ' CHANGELOG.md | grep -x '## $number, 20[0-9][0-9]-[01][0-9]-[0-3][0-9]'"
check "packaging/debian/changelog begins with it" sh -c "head -n 1 packaging/debian/changelog | grep '($number-'"
check "packaging/abi/libmcm.abi is this ABI" sh -c \
    "tools/abi.sh check packaging/abi/libmcm.abi | tee /dev/stderr | grep -q '^abi: mcm.h is that of'"

sums
