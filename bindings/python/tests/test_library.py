"""The library that is missing, or is another."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys

import mcm
import numpy as np
import pytest
from mcm import _native as native


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    search = os.path.dirname(os.path.dirname(mcm.__file__))
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": search, **environment},
        capture_output=True, text=True, timeout=60,
    )


def refusal(library: str) -> str:
    done = run_python("import mcm", MCM_LIBRARY=library)
    message = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and message.startswith("ImportError: ")
    return message.removeprefix("ImportError: ")


def compiled(folder, source: str) -> str:
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    library = str(folder / "libmcm.so.1")
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library]
    subprocess.run(command, input=source, text=True, check=True)
    return library


def test_missing_library():
    assert refusal("/nowhere/libmcm.so.1") == (
        "libmcm.so.1 cannot be loaded (from MCM_LIBRARY); tried /nowhere/libmcm.so.1: cannot open shared object file: "
        "No such file or directory"
    )


def test_no_library_at_all(tmp_path):
    """Installed without one: the message names all the places."""
    ignored = shutil.ignore_patterns("libmcm*", "__pycache__")
    shutil.copytree(os.path.dirname(mcm.__file__), tmp_path / "mcm", ignore=ignored)
    search = os.pathsep.join([str(tmp_path), os.path.dirname(os.path.dirname(np.__file__))])
    command = [sys.executable, "-S", "-c", "import mcm"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": search}, capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip("libmcm is installed in the system")
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: libmcm.so.1 cannot be loaded (install libmcm or set MCM_LIBRARY to its")
    assert message.count("; ") == 3  # three places are tried
    assert str(tmp_path / "mcm" / "libmcm.so.1") in message


@pytest.mark.parametrize("version, found", [(1002003, "1.2.3"), (12000000, "12.0.0"), (999001, "0.999.1")])
def test_another_version(tmp_path, version, found):
    library = compiled(tmp_path, f"unsigned mcm_version(void) {{ return {version}; }}")
    expected = f"{native.VERSION_MAJOR}.{native.VERSION_MINOR}"
    assert refusal(library) == f"{library} is libmcm {found}, expected {expected}"


def test_which_versions_fit():
    assert native.fits((0, 1), (0, 1)) and not native.fits((0, 2), (0, 1)) and not native.fits((0, 0), (0, 1))
    assert native.fits((1, 3), (1, 2)) and native.fits((1, 2), (1, 2)) and not native.fits((1, 1), (1, 2))
    assert not native.fits((2, 2), (1, 2)) and not native.fits((1, 1), (0, 1))


def test_older_library(tmp_path):
    version = native.VERSION_MAJOR * 1000000 + native.VERSION_MINOR * 1000
    library = compiled(tmp_path, f"unsigned mcm_version(void) {{ return {version}; }}")
    assert refusal(library) == f"{library} lacks mcm_last_error: it is older than this package"


def test_another_library(tmp_path):
    library = compiled(tmp_path, "int other(void) { return 0; }")
    assert refusal(library) == f"{library} lacks mcm_version: it is no libmcm"


def test_damaged_library(tmp_path):
    (tmp_path / "libmcm.so.1").write_bytes(b"no library")
    assert "libmcm.so.1: file too short" in refusal(str(tmp_path / "libmcm.so.1"))
