#!/bin/sh
# Installs dist/libmcm-*.whl into an empty virtual environment, and draws there as a user would who has nothing else: no
# compiler, no repository, no MCM_LIBRARY. The picture must be the one that this repository's library draws.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q "$root"/dist/libmcm-*.whl
fashion=$root/examples/fashion
cp -r "$fashion/base" "$fashion/conditions" "$fashion/module.mcm.safetensors" "$root/examples/python/session.py" "$work"
mkdir "$work/elsewhere"
cd "$work/elsewhere"
alone() { env -i HOME="$work" PATH="$work/venv/bin" "$@"; }

alone python ../session.py .. picture.png 7 > log || { cat log; exit 1; }
alone python - "$work" <<'END'
import sys
from importlib.metadata import files, metadata

import mcm
from mcm import _native

assert _native.lib._name.startswith(sys.argv[1]), f"{_native.lib._name} is loaded, expected the wheel's own"
loaded = {line.split()[-1] for line in open("/proc/self/maps") if "libpng" in line}
assert loaded and all(path.startswith(sys.argv[1]) for path in loaded), f"{loaded} is loaded, expected the wheel's own"
licences = {path.name for path in files("libmcm") if "licenses" in path.parts}
assert {"LICENSE", "LICENSE-clip", "LICENSE-libpng"} <= licences, licences
assert metadata("libmcm")["Version"] == mcm.__version__ == mcm.library_version()
assert mcm.read_png("picture.png").shape == (28, 28)
END
"$python" -m zipfile -l "$root"/dist/libmcm-*.whl | grep -q 'mcm/py.typed'
export MCM_LIBRARY="$root/build/libmcm.so.1" PYTHONPATH="$root/bindings/python"
"$work/venv/bin/python" "$root/examples/python/session.py" "$fashion" expected.png 7 > /dev/null
cmp picture.png expected.png
echo "$(basename "$root"/dist/libmcm-*.whl): installed alone, it draws the same picture"
