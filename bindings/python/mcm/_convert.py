"""From Python and numpy values to what the C functions take, without copies where the memory is right already."""
from __future__ import annotations

import mmap
import operator
import os
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

from . import _native as native
from .errors import InvalidArgument, SizeError

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
PathLike = Union[str, "os.PathLike[str]"]
BytesLike = Union[bytes, bytearray, memoryview, mmap.mmap]


def u32(name: str, value: int) -> int:
    """`value` if a uint32_t can hold it; ctypes would drop the upper bits."""
    result = operator.index(value)
    if not 0 <= result < 2**32:
        raise InvalidArgument(f"{name} is {result}, expected 0 .. 4294967295")
    return result


def u64(name: str, value: int) -> int:
    """The same for a uint64_t."""
    result = operator.index(value)
    if not 0 <= result < 2**64:
        raise InvalidArgument(f"{name} is {result}, expected 0 .. 2**64 - 1")
    return result


def text(name: str, value: str) -> bytes:
    """A string for C, where a zero character would end it."""
    if "\0" in value:
        raise InvalidArgument(f"{name} {value!r} contains a zero character")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name} {value!r} has no UTF-8: {error.reason}") from None


def path(value: PathLike) -> bytes:
    result = os.fsencode(value)
    if b"\0" in result:
        raise InvalidArgument(f"path {value!r} contains a zero character")
    return result


def floats(value: npt.ArrayLike) -> FloatArray:
    """`value` as contiguous float32."""
    return np.require(value, np.float32, ("C", "A"))


def samples(name: str, value: npt.ArrayLike) -> FloatArray:
    """A batch of samples or predictions."""
    result = floats(value)
    if result.ndim != 4:
        raise SizeError(f"{name} has shape {result.shape}, expected (batch, channels, height, width)")
    return result


def floats_of_shape(name: str, value: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    result = floats(value)
    if result.shape != shape:
        raise SizeError(f"{name} has shape {result.shape}, expected {shape}")
    return result


def timesteps(value: npt.ArrayLike, batch: int) -> FloatArray:
    """One timestep per image, from one number or one for each."""
    result = floats(value)
    if result.shape not in ((), (1,), (batch,)):
        raise SizeError(f"timesteps has shape {result.shape}, expected () or ({batch},)")
    return np.ascontiguousarray(np.broadcast_to(result, batch))


def address(array: Optional[FloatArray]) -> Optional[int]:
    return None if array is None else array.ctypes.data


def intensities(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Pixels as uint8, if they are integers, or float32."""
    result = np.asarray(value)
    if result.dtype.kind not in "iu":
        return result.astype(np.float32, copy=False)
    if result.dtype != np.uint8 and result.size and not (0 <= result.min() and result.max() <= 255):
        raise InvalidArgument(f"{name} has values {result.min()} .. {result.max()}, expected 0 .. 255")
    return result.astype(np.uint8, copy=False)


def pixels(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """One image as uint8 or float32 with contiguous rows."""
    result = np.asarray(image)
    if result.ndim not in (2, 3):
        raise SizeError(f"an image has shape {result.shape}, expected (height, width) or (height, width, channels)")
    result = intensities("an image", result)
    row = result[:1]
    if row.flags.c_contiguous and result.flags.aligned and result.strides[0] >= row.nbytes:
        return result
    return np.ascontiguousarray(result)


def image(pixels: npt.NDArray[Any]) -> native.Image:
    """A view of what `pixels` returned, which the caller keeps alive."""
    height, width, channels = (*pixels.shape, 1)[:3]
    return native.Image(
        dtype=native.U8 if pixels.dtype == np.uint8 else native.F32,
        data=pixels.ctypes.data,
        width=width,
        height=height,
        channels=channels,
        row_stride=0 if pixels.flags.c_contiguous else pixels.strides[0],
    )
