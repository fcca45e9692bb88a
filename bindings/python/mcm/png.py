"""8-bit PNG files as numpy arrays."""
from __future__ import annotations

from ctypes import byref, c_uint32

import numpy as np

from . import _convert as convert
from ._convert import ArrayLike, ByteArray, PathLike
from ._native import lib
from .errors import InvalidArgument


def read_png(path: PathLike) -> ByteArray:
    """The pixels of an 8-bit PNG: uint8, (height, width) if it is grey, else (height, width, 3 or 4).

    Raises IOFailure, FormatError, UnsupportedError.
    """
    name = convert.path(path)
    width, height, channels = c_uint32(), c_uint32(), c_uint32()
    lib.mcm_png_size(name, byref(width), byref(height), byref(channels))
    pixels = np.empty((height.value, width.value, channels.value), np.uint8)
    lib.mcm_png_read(name, pixels.ctypes.data, pixels.size)
    return pixels[:, :, 0] if channels.value == 1 else pixels


def write_png(path: PathLike, image: ArrayLike) -> None:
    """Write uint8 pixels, (height, width) or (height, width, 1, 3 or 4), as a PNG.

    Raises InvalidArgument, SizeError, IOFailure.
    """
    pixels = convert.pixels(image)
    if pixels.dtype != np.uint8:
        found = convert.numbers("an image", image).dtype
        raise InvalidArgument(f"an image has numbers of kind {found}, expected uint8")
    lib.mcm_png_write(convert.path(path), byref(convert.image(pixels)))
