"""The declarations in _native.py against mcm.h and against the library."""
from __future__ import annotations

import re
from ctypes import (
    POINTER,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    create_string_buffer,
    sizeof,
)

import mcm
import pytest
from mcm import _native as native
from mcm import errors

from conftest import REPOSITORY

HEADER = re.sub(r"/\*.*?\*/", "", (REPOSITORY / "include" / "mcm.h").read_text(), flags=re.S)
FUNCTIONS = {
    name: (result, arguments)
    for result, name, arguments in re.findall(r"^([\w ]+?\**) ?\*?(mcm_\w+)\(([^()]*)\);", HEADER, re.M)
}
STRUCTS = dict(re.findall(r"typedef struct (mcm_\w+) \{(.*?)\} \1;", HEADER, re.S))
NUMBERS = {
    "uint32_t": c_uint32,
    "int32_t": c_int32,
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "float": c_float,
    "double": c_double,
    "mcm_status": c_int32,
    "mcm_progress": native.Progress,
    "mcm_dataset_progress": native.DatasetProgress,
    "mcm_bank_progress": native.BankProgress,
    "mcm_train_progress": native.TrainProgress,
    "void": None,
}


def struct(name: str) -> type:
    return getattr(native, "".join(map(str.title, name.split("_")[1:])))


def accepted(declaration: str) -> tuple:
    """The ctypes types that may stand for a C declaration such as "const float *sample"."""
    name, stars = re.match(r"\s*(\w+)\s*(\**)", declaration.replace("const ", "").replace("* *", "**")).groups()
    if stars == "**":
        return (POINTER(c_char_p if name == "char" else c_void_p),)
    if stars == "":
        return (NUMBERS[name],)
    if name == "char":
        return (c_char_p,)
    if name in STRUCTS:
        return (POINTER(struct(name)),)
    return (c_void_p, POINTER(NUMBERS[name])) if NUMBERS.get(name) else (c_void_p,)


def test_all_functions_are_declared():
    assert set(native.SIGNATURES) == set(re.findall(r"\b(mcm_\w+)\(", HEADER))
    assert set(native.SIGNATURES) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(name):
    result, arguments = FUNCTIONS[name]
    declared = [] if arguments == "void" else arguments.split(",")
    expected = [accepted(("const char *" if name in ("mcm_last_error", "mcm_status_name", "mcm_version_string") else
                          result)), *map(accepted, declared)]
    assert len(native.SIGNATURES[name]) == len(expected)
    for position, (ours, allowed) in enumerate(zip(native.SIGNATURES[name], expected)):
        assert ours in allowed, f"{name}, position {position}"


@pytest.mark.parametrize("name", STRUCTS)
def test_struct_fields(name):
    expected = []
    for declaration in filter(str.strip, STRUCTS[name].split(";")):
        kind, names = re.match(r"\s*((?:const )?\w+)\s*(.*)", declaration, re.S).groups()
        for field in names.split(","):
            pointer, field, length = re.match(r"\s*(\*?)(\w+)(?:\[(\d+)\])?", field).groups()
            element = c_char if kind == "char" else NUMBERS.get(kind)
            expected.append((field, (element * int(length),) if length else accepted(kind + pointer)))
    assert [field for field, _ in struct(name)._fields_] == [field for field, _ in expected]
    for (field, ours), (_, allowed) in zip(struct(name)._fields_, expected):
        assert ours in allowed, field


@pytest.mark.parametrize("name", [name for name in STRUCTS if "struct_size" in STRUCTS[name]])
def test_struct_size(name):
    room = create_string_buffer(b"\xff" * 4096)
    getattr(native.lib, f"{name}_init")(cast(room, POINTER(struct(name))), sizeof(struct(name)))
    assert cast(room, POINTER(c_uint32))[0] == sizeof(struct(name))
    assert struct(name)().struct_size == sizeof(struct(name))
    assert room.raw[sizeof(struct(name)) : 4096] == b"\xff" * (4096 - sizeof(struct(name)))


def test_constants():
    for name, number in re.findall(r"^#define MCM_(\w+) (\d+)", HEADER, re.M):
        if name.startswith("ERROR_") or name == "CANCELLED":
            assert type(errors.error(int(number), "")) is not mcm.MCMError
            assert native.lib.mcm_status_name(int(number)).decode() == f"MCM_{name}"
        elif name != "OK" and not name.startswith("VERSION"):
            assert getattr(native, name) == int(number)


def test_version():
    numbers = [re.search(rf"MCM_VERSION_{part} (\d+)", HEADER)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    assert mcm.__version__ == mcm.library_version() == ".".join(numbers)
    major, minor, patch = map(int, numbers)
    assert (native.VERSION_MAJOR, native.VERSION_MINOR) == (major, minor)
    assert native.lib.mcm_version() == major * 1000000 + minor * 1000 + patch


def test_exception_classes():
    for error, builtin in [
        (mcm.InvalidArgument, ValueError),
        (mcm.SizeError, ValueError),
        (mcm.StateError, RuntimeError),
        (mcm.IncompatibleError, ValueError),
        (mcm.IOFailure, OSError),
        (mcm.FormatError, ValueError),
        (mcm.UnsupportedError, NotImplementedError),
        (mcm.OutOfMemory, MemoryError),
        (mcm.StructSizeError, mcm.MCMError),
        (mcm.CPUError, mcm.MCMError),
        (mcm.Cancelled, mcm.MCMError),
    ]:
        raised = errors.error(error.status, "why")
        assert type(raised) is error and isinstance(raised, (builtin,)) and isinstance(raised, mcm.MCMError)
        assert str(raised) == "why"
    unknown = errors.error(77, "why")
    assert type(unknown) is mcm.MCMError and unknown.status == 77
