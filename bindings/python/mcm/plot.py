"""Pictures of what is drawn and learned: contact sheets, which need numpy only, and loss curves, by matplotlib."""
from __future__ import annotations

import math
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from ._convert import ByteArray, PathLike
from ._images import Images, ImagesLike
from .errors import InvalidArgument, IOFailure, SizeError
from .png import write_png

if TYPE_CHECKING:
    from .training_loop import TrainHistory


def contact_sheet(
    images: ImagesLike,
    path: Optional[PathLike] = None,
    columns: Optional[int] = None,
    gap: int = 2,
    background: int = 255,
    zoom: int = 1,
) -> ByteArray:
    """Images side by side, row by row: uint8, (height, width), or (height, width, 3) if one of them is RGB.

    images: (count, height, width[, channels]), or a list of arrays and paths of PNGs of any sizes, each in the middle
    of its cell; uint8 is 0 .. 255, float and bool are [0, 1]. path: of a PNG to write. columns: images in a row; None:
    such that the sheet is about a square. gap: pixels between images and around them. background: 0 .. 255. zoom:
    pixels of the sheet per pixel of an image, in each direction.
    Raises InvalidArgument, SizeError; with paths also IOFailure and what `read_png` raises.
    """
    cells = [_levels(image) for image in Images(images).pixels]
    if not cells:
        raise InvalidArgument("no images, expected at least one")
    across = math.ceil(math.sqrt(len(cells))) if columns is None else convert.u32("columns", columns)
    gap, background, zoom = (
        convert.u32(name, value) for name, value in (("gap", gap), ("background", background), ("zoom", zoom))
    )
    if across == 0 or zoom == 0 or background > 255:
        found = f"columns is {across}, zoom {zoom} and background {background}"
        raise InvalidArgument(f"{found}, expected columns and zoom of at least 1 and a background of 0 .. 255")
    across, down = min(across, len(cells)), math.ceil(len(cells) / min(across, len(cells)))
    height, width = (max(cell.shape[axis] for cell in cells) * zoom for axis in (0, 1))
    channels = max(cell.shape[2] for cell in cells)
    sheet = np.full((gap + down * (height + gap), gap + across * (width + gap), channels), background, np.uint8)
    for index, cell in enumerate(cells):
        cell = cell.repeat(zoom, 0).repeat(zoom, 1)
        row, column = divmod(index, across)
        top = gap + row * (height + gap) + (height - cell.shape[0]) // 2
        left = gap + column * (width + gap) + (width - cell.shape[1]) // 2
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    result = sheet[:, :, 0] if channels == 1 else sheet
    if path is not None:
        write_png(path, result)
    return result


def _levels(image: npt.NDArray[Any]) -> ByteArray:
    """(height, width, 1 or 3) of 0 .. 255."""
    levels = image if image.ndim == 3 else image[:, :, np.newaxis]
    if levels.shape[2] not in (1, 3):
        raise SizeError(f"an image has {levels.shape[2]} channels, expected 1 or 3")
    if levels.dtype == np.uint8:
        return levels
    rounded: ByteArray = np.rint(255 * np.nan_to_num(levels.clip(0, 1))).astype(np.uint8)
    return rounded


def loss_curves(history: TrainHistory, path_or_axes: Any = None) -> Any:
    """Draw loss and base loss of a training run, smoothed over a hundredth of the steps, into matplotlib axes, which
    are returned.

    path_or_axes: the path of an image file to write, or axes to draw into; None: into a new pyplot figure.
    Raises ImportError without matplotlib, and IOFailure.
    """
    try:
        figures = import_module("matplotlib.figure")
    except ImportError:
        raise ImportError("loss curves need matplotlib: pip install matplotlib") from None
    is_path = isinstance(path_or_axes, (str, os.PathLike))
    axes = path_or_axes
    if is_path:
        axes = figures.Figure(layout="constrained").subplots()
    elif axes is None:
        axes = import_module("matplotlib.pyplot").subplots()[1]
    for values, label in ((history.loss, "loss"), (history.base_loss, "loss of the model alone")):
        width = max(1, len(history) // 100)
        smooth = np.convolve(values, np.full(width, 1 / width), "valid") if len(history) else values
        axes.plot(history.step[width - 1 :], smooth, label=label)
    axes.set_xlabel("step")
    axes.legend()
    if is_path:
        try:
            axes.figure.savefig(path_or_axes)
        except OSError as error:
            raise IOFailure(f"{os.fspath(path_or_axes)}: {error.strerror}") from error
    return axes
