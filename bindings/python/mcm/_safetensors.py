"""The little of safetensors that data sets need: a writer that replaces a file at once or not at all."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from ._convert import PathLike
from .errors import InvalidArgument, IOFailure

_SIZES = {"F32": 4, "I32": 4, "F16": 2, "U8": 1}
_CHUNK = 1 << 24
"""Bytes that are converted at a time, so that an array may be larger than the memory left."""


@dataclass(frozen=True)
class Tensor:
    """An array whose first axis counts examples. It is converted to `dtype` while it is written."""

    name: str
    array: npt.NDArray[Any]
    dtype: str
    """"U8", "F16", "F32" or "I32"."""
    shape: tuple[int, ...]
    """As the file has it."""

    @property
    def size(self) -> int:
        return math.prod(self.shape) * _SIZES[self.dtype]


def write(path: PathLike, tensors: Sequence[Tensor]) -> None:
    """Write a file at once or not at all. Raises InvalidArgument for values that it cannot hold, and IOFailure."""
    # The widest first: so all are aligned.
    ordered = sorted(tensors, key=lambda tensor: (-_SIZES[tensor.dtype], tensor.dtype, tensor.name))
    header, end = {}, 0
    for tensor in ordered:
        begin, end = end, end + tensor.size
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in ordered:
            count = tensor.shape[0]
            step = max(1, _CHUNK * count // tensor.size)
            for first in range(0, count, step):
                file.write(_elements(tensor, tensor.array[first : first + step], first).data)


def _elements(tensor: Tensor, examples: npt.NDArray[Any], first: int) -> npt.NDArray[Any]:
    """examples: of the tensor, from number `first` on."""
    if tensor.dtype == "U8":
        return np.ascontiguousarray(convert.intensities(f"'{tensor.name}'", examples))
    if tensor.dtype == "I32":
        return np.ascontiguousarray(examples, "<i4")
    dtype = "<f2" if tensor.dtype == "F16" else "<f4"
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(examples, dtype)
    finite = np.isfinite(result).reshape(len(result), -1).all(axis=1)
    if not finite.all():
        number = first + int(np.argmin(finite))
        raise InvalidArgument(f"'{tensor.name}', example {number}, is not finite as {np.dtype(dtype).name}")
    return result


def check_writable(path: PathLike) -> None:
    """Raises IOFailure for what can be no file, before the work that it is for."""
    try:
        with _new_file(path) as (temporary, _):
            os.unlink(temporary)
    except IOFailure:
        raise
    except OSError as error:
        raise IOFailure(f"{os.fspath(path)}: {error.strerror}") from error


@contextmanager
def _new_file(path: PathLike) -> Iterator[tuple[str, BinaryIO]]:
    """A file beside that which is to be replaced."""
    convert.path(path)
    name = os.fspath(path)
    if not name or os.path.exists(name) and not os.path.isfile(name):
        raise IOFailure(f"{name or 'an empty path'}: is no regular file")
    target = os.path.realpath(name)  # a link goes on pointing where it did
    temporary = f"{target}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    with open(temporary, "xb") as file:
        yield temporary, file


@contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` if the block ends well, and vanishes if not."""
    try:
        with _new_file(path) as (temporary, file):
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, os.path.realpath(path))
            except BaseException:
                os.unlink(temporary)
                raise
    except IOFailure:
        raise
    except OSError as error:
        raise IOFailure(f"{os.fspath(path)}: {error.strerror}") from error
