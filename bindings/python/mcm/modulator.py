"""Multimodal conditioning modules."""
from __future__ import annotations

from collections.abc import Mapping
from ctypes import byref
from dataclasses import dataclass
from typing import Optional

import numpy as np

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike, BytesLike, FloatArray, PathLike
from ._images import Conditions, ImagesLike
from ._native import Handle, Owner, lib
from .model import PREDICTION_TYPES, Model

ENCODINGS = {native.ENCODING_GREY: "grey", native.ENCODING_RGB: "rgb", native.ENCODING_ONE_HOT: "one-hot"}
RESIZES = {native.RESIZE_NEAREST: "nearest", native.RESIZE_AREA: "area", native.RESIZE_BILINEAR: "bilinear"}


@dataclass(frozen=True)
class Modality:
    """One kind of condition that a module follows."""

    name: str
    channels: int
    """Planes: 1, 3 or the number of classes."""
    encoding: str
    """"grey", "rgb" or "one-hot"; "one-hot" takes a class index per pixel."""
    resize: str
    """"nearest", "area" or "bilinear": used when an image is not of the sample's size."""


def modality_from(info: native.ModalityInfo) -> Modality:
    encoding, resize = ENCODINGS.get(info.encoding, "unknown"), RESIZES.get(info.resize, "unknown")
    return Modality(info.name.decode(), info.channels, encoding, resize)


@dataclass(frozen=True)
class ModulatorInfo:
    """What a module is."""

    prediction_channels: int
    prediction_type: Optional[str]
    """Of the base that it was trained on; None if the file does not say."""
    parameter_count: int
    base_fingerprint: str
    """Of the base that it was trained on; empty if the file does not say."""


class Modulator(Owner):
    """A module M that turns the network's prediction e into e' = e * (scale_offset + g) + v.

    Immutable; any number of threads may use it at the same time. Open it with `Modulator.open` or
    `Modulator.from_bytes`.
    """

    info: ModulatorInfo
    modalities: tuple[Modality, ...]

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        info = native.ModulatorInfo()
        lib.mcm_modulator_get_info(handle, byref(info))
        self.info = ModulatorInfo(
            prediction_channels=info.prediction_channels,
            prediction_type=PREDICTION_TYPES.get(info.prediction_type),
            parameter_count=info.parameter_count,
            base_fingerprint=info.base_fingerprint.decode(),
        )
        self.modalities = tuple(self._modality(index) for index in range(info.modality_count))

    def _modality(self, index: int) -> Modality:
        info = native.ModalityInfo()
        lib.mcm_modulator_get_modality(self._handle, index, byref(info))
        return modality_from(info)

    @classmethod
    def open(cls, path: PathLike) -> Modulator:
        """Open a module file. Raises IOFailure, FormatError, UnsupportedError, OutOfMemory, CPUError."""
        handle = Handle(lib.mcm_modulator_free)
        lib.mcm_modulator_open(convert.path(path), byref(handle))
        return cls(handle)

    @classmethod
    def from_bytes(cls, data: BytesLike) -> Modulator:
        """Open a module file that lies in memory, which may be released afterwards. Errors as for `open`."""
        content = np.frombuffer(data, np.uint8)
        handle = Handle(lib.mcm_modulator_free)
        lib.mcm_modulator_open_memory(content.ctypes.data, content.size, byref(handle))
        return cls(handle)

    def check(self, model: Model) -> None:
        """Raise IncompatibleError, with the reason, if the module does not fit the model."""
        lib.mcm_modulator_check(self._handle, Model._handle_of("model", model))

    def modulate(
        self,
        model: Model,
        sample: ArrayLike,
        prediction: ArrayLike,
        timesteps: ArrayLike,
        conditions: Mapping[str, ImagesLike],
        weight: float = 1.0,
        out: Optional[FloatArray] = None,
    ) -> FloatArray:
        """The modulated prediction e' = e + weight * (M(x, e, t, conditions) - e), float32, of e's shape.

        sample, prediction: x and the model's e, (batch, channels, height, width). timesteps: a number, or one per
        image. conditions: by modality, one image for the whole batch or one per image, of any size; modalities that
        are not named are absent. Channels and prediction type are checked against the model; for its fingerprint see
        `check`. out: an array to write to, and to return, instead of a new one; it may be `prediction` itself.
        Raises InvalidArgument, SizeError, IncompatibleError, OutOfMemory.
        """
        x = convert.samples("sample", sample)
        e = convert.floats_of_shape("prediction", prediction, x.shape)
        batch, _, height, width = x.shape
        t = convert.timesteps(timesteps, batch)
        given = Conditions(conditions)
        modulated = convert.output("out", out, e.shape, x, t, None if out is e else e)
        lib.mcm_modulator_modulate(
            self._handle,
            Model._handle_of("model", model),
            batch,
            width,
            height,
            x.ctypes.data,
            e.ctypes.data,
            x.size,
            t.ctypes.data,
            given,
            len(given.images),
            convert.real("weight", weight),
            modulated.ctypes.data,
        )
        return modulated
