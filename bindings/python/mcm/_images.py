"""Images and conditions as arrays of C structs.

The two classes are passed to C functions themselves: the structs and the pixels then live as long as the call.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ctypes import POINTER, cast
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike
from .png import read_png

ImageLike = Union[ArrayLike, "os.PathLike[str]"]
"""An array (height, width) or (height, width, channels), or the path of a PNG.

uint8 is 0 .. 255, float and bool are [0, 1], other integers must lie in 0 .. 255. In a class map the value is the
class index, whatever the dtype. A Pillow image with a palette gives its indices, a PNG with one its colours.
"""
ImagesLike = Union[ImageLike, Sequence[ImageLike]]
"""One image; or several: a list of images, or an array (count, height, width[, channels]).

An array of three axes is one image if the last axis has size 1, 3 or 4 (which is refused: no alpha), else several.
"""


def _pixels(image: ImageLike) -> npt.NDArray[Any]:
    return convert.pixels(read_png(image) if isinstance(image, (str, os.PathLike)) else image)


class Images:
    """An array of mcm_image and the pixels that it points to."""

    def __init__(self, images: ImagesLike) -> None:
        several: Sequence[ImageLike]
        if isinstance(images, (list, tuple)):
            several = images
        elif isinstance(images, (str, os.PathLike)):
            several = [images]
        else:
            whole: Any = images
            array = convert.numbers("images", whole)
            one = array.ndim < 3 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
            several = [array] if one else list(array)
        self.pixels = [_pixels(image) for image in several]
        structs = (native.Image * len(several))(*map(convert.image, self.pixels))
        self._as_parameter_ = cast(structs, POINTER(native.Image))


class Conditions:
    """An array of mcm_condition and the images that it points to."""

    def __init__(self, conditions: Mapping[str, ImagesLike]) -> None:
        self.images = [Images(images) for images in convert.mapping("conditions", conditions).values()]
        structs = (native.Condition * len(conditions))(
            *(
                native.Condition(
                    image_count=len(images.pixels),
                    modality=convert.text("modality", name),
                    images=images._as_parameter_,
                )
                for name, images in zip(conditions, self.images)
            )
        )
        self._as_parameter_ = cast(structs, POINTER(native.Condition))
