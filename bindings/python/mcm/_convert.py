"""From Python and numpy values to what the C functions take, without copies where the memory is right already."""
from __future__ import annotations

import mmap
import operator
import os
import sys
from collections.abc import Mapping
from typing import Any, Optional, Protocol, SupportsIndex, TypeVar, Union

import numpy as np
import numpy.typing as npt

from . import _native as native
from .errors import InvalidArgument, SizeError

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
PathLike = Union[str, "os.PathLike[str]"]
MappedT = TypeVar("MappedT")
BytesLike = Union[bytes, bytearray, memoryview, mmap.mmap]


class SupportsArrayInterface(Protocol):
    """Pillow images, for instance."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class SupportsDLPack(Protocol):
    def __dlpack__(self) -> object: ...


ArrayLike = Union[npt.ArrayLike, SupportsArrayInterface, SupportsDLPack]
"""Whatever holds numbers: what numpy reads, nested lists and Pillow images for instance; torch tensors, on any device
and with gradients; and what offers DLPack alone. Memory in the right form is used as it is, all else is copied."""


def u32(name: str, value: int) -> int:
    """`value` if a uint32_t can hold it; ctypes would drop the upper bits."""
    result = operator.index(value)
    if not 0 <= result < 2**32:
        raise InvalidArgument(f"{name} is {result}, expected 0 .. 4294967295")
    return result


def positive(name: str, value: Optional[int]) -> int:
    """The same for what the library takes 0 for the default of, which None says here."""
    result = 0 if value is None else u32(name, value)
    if value is not None and result == 0:
        raise InvalidArgument(f"{name} is 0, expected at least 1, or None for the default")
    return result


def u64(name: str, value: SupportsIndex) -> int:
    """The same for a uint64_t."""
    result = operator.index(value)
    if not 0 <= result < 2**64:
        raise InvalidArgument(f"{name} is {result}, expected 0 .. 2**64 - 1")
    return result


def real(name: str, value: float) -> float:
    """`value` as ctypes takes it."""
    try:
        if np.iscomplexobj(value):
            raise TypeError
        return value.__float__()
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{name} is {value!r:.100}, expected a number") from None


def mapping(name: str, value: Mapping[str, MappedT]) -> Mapping[str, MappedT]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {type(value).__name__}, expected a mapping of modalities to images")
    return value


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


def numbers(name: str, value: ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array of numbers, a view where possible."""
    try:
        result = _array(value)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidArgument(f"{name} is {type(value).__name__}, expected an array of numbers: {reason}") from error
    if result.dtype.kind not in "biuf":
        raise InvalidArgument(f"{name} has dtype {result.dtype}, expected integers or real numbers")
    return result


def _array(value: Any) -> npt.NDArray[Any]:
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image) and value.mode in _OTHER_COLOURS:
        raise ValueError(f"its mode is {value.mode}, convert it to RGB")
    torch = sys.modules.get("torch")  # there are no tensors before it is imported
    if torch is not None and isinstance(value, torch.Tensor):
        wide = value.float() if value.dtype is torch.bfloat16 else value  # which numpy lacks
        return np.asarray(wide.numpy(force=True))
    if hasattr(value, "__dlpack__") and not (hasattr(value, "__array__") or hasattr(value, "__array_interface__")):
        return np.from_dlpack(value)
    return np.asarray(value)


_OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "La", "RGBa", "RGBX")
"""Modes of Pillow whose numbers would be taken for other colours, or for several images."""


def floats(name: str, value: ArrayLike) -> FloatArray:
    """`value` as contiguous float32."""
    with np.errstate(over="ignore"):  # the library refuses what is not finite
        return np.require(numbers(name, value), np.float32, ("C", "A"))


def samples(name: str, value: ArrayLike) -> FloatArray:
    """A batch of samples or predictions."""
    result = floats(name, value)
    if result.ndim != 4:
        raise SizeError(f"{name} has shape {result.shape}, expected (batch, channels, height, width)")
    return result


def floats_of_shape(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    result = floats(name, value)
    if result.shape != shape:
        raise SizeError(f"{name} has shape {result.shape}, expected {shape}")
    return result


def timesteps(value: ArrayLike, batch: int) -> FloatArray:
    """One timestep per image, from one number or one for each."""
    result = floats("timesteps", value)
    if result.shape not in ((), (1,), (batch,)):
        raise SizeError(f"timesteps has shape {result.shape}, expected () or ({batch},)")
    return np.ascontiguousarray(np.broadcast_to(result, batch))


def address(array: Optional[FloatArray]) -> Optional[int]:
    return None if array is None else array.ctypes.data


def output(
    name: str, out: Optional[FloatArray], shape: tuple[int, ...], *inputs: Optional[FloatArray]
) -> FloatArray:
    """`out` if the library can write to it, or a new array if it is None. It must not overlap the inputs."""
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray):
        raise InvalidArgument(f"{name} is {type(out).__name__}, expected a numpy array")
    if out.shape != shape:
        raise SizeError(f"{name} has shape {out.shape}, expected {shape}")
    if out.dtype != np.float32:
        raise InvalidArgument(f"{name} has dtype {out.dtype}, expected float32")
    if not out.flags.carray:
        found = "not contiguous" if out.flags.writeable else "read-only"
        raise InvalidArgument(f"{name} is {found}, expected a writable C-contiguous array")
    if any(given is not None and np.may_share_memory(out, given) for given in inputs):
        raise InvalidArgument(f"{name} overlaps an input, expected memory of its own")
    return out


def intensities(name: str, value: ArrayLike) -> npt.NDArray[Any]:
    """Pixels as uint8, if they are integers, or float32."""
    result = numbers(name, value)
    if result.dtype.kind not in "iu":
        with np.errstate(over="ignore"):
            return result.astype(np.float32, copy=False)
    if result.dtype != np.uint8 and result.size and not (0 <= result.min() and result.max() <= 255):
        raise InvalidArgument(f"{name} has values {result.min()} .. {result.max()}, expected 0 .. 255")
    return result.astype(np.uint8, copy=False)


def pixels(image: ArrayLike) -> npt.NDArray[Any]:
    """One image as uint8 or float32 with contiguous rows."""
    result = numbers("an image", image)
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
