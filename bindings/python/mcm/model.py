"""Pretrained diffusion models."""
from __future__ import annotations

from collections.abc import Mapping
from ctypes import byref
from dataclasses import dataclass
from typing import Optional

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from ._convert import ByteArray, BytesLike, FloatArray, PathLike
from ._images import Images, ImagesLike
from ._native import Handle, Owner, lib
from .errors import InvalidArgument, SizeError

PREDICTION_TYPES = {
    native.PREDICTION_EPSILON: "epsilon",
    native.PREDICTION_SAMPLE: "sample",
    native.PREDICTION_V: "v_prediction",
}


@dataclass(frozen=True)
class ModelInfo:
    """What a model is."""

    prediction_type: str
    """"epsilon", "sample" or "v_prediction"."""
    width: int
    """Of the samples that the model was trained on, as are height and channels."""
    height: int
    channels: int
    prediction_channels: int
    """Of the network's output: `channels`, or twice that with learned variance."""
    num_train_timesteps: int
    size_multiple: int
    """Width and height of a sample must be multiples of this."""
    class_input_size: int
    """Floats per image that the network wants as class input: 0 none, 1 an index or number, more: an embedding."""
    class_count: int
    """Number of classes if there is a class table, else 0."""
    parameter_count: int
    memory_bytes: int
    """Held by the weights."""
    fingerprint: str
    """Identifies the weights."""


@dataclass(frozen=True)
class Memory:
    """Memory in bytes, and threads."""

    threads: int
    """That one call may use."""
    weights: int
    """Parameters in the form in which they are used; 16-bit ones stay 16-bit."""
    cache: int
    """Filters kept transformed, see `Model.open`."""
    arena: int
    """Activations. Of a model: the most that calls without a session needed so far, kept for their next call. Of
    a session: what its steps need, allocated in the first one (and in the first in which a module works), and its
    samples and conditions."""


def memory_from(struct: native.Memory) -> Memory:
    return Memory(threads=struct.threads, weights=struct.weights, cache=struct.cache, arena=struct.arena)


def _options(threads: int, cache_bytes: int) -> native.ModelOptions:
    return native.ModelOptions(
        threads=convert.u32("threads", threads), cache_bytes=convert.u64("cache_bytes", cache_bytes)
    )


class Model(Owner):
    """A pretrained diffusion model: network, noise schedule and scheduler defaults.

    Immutable; any number of threads may use it at the same time. Open it with `Model.open` or `Model.from_files`.
    """

    info: ModelInfo

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        info = native.ModelInfo()
        lib.mcm_model_get_info(handle, byref(info))
        self.info = ModelInfo(
            prediction_type=PREDICTION_TYPES.get(info.prediction_type, "unknown"),
            width=info.width,
            height=info.height,
            channels=info.channels,
            prediction_channels=info.prediction_channels,
            num_train_timesteps=info.num_train_timesteps,
            size_multiple=info.size_multiple,
            class_input_size=info.class_input_size,
            class_count=info.class_count,
            parameter_count=info.parameter_count,
            memory_bytes=info.memory_bytes,
            fingerprint=info.fingerprint.decode(),
        )

    @classmethod
    def open(cls, folder: PathLike, threads: int = 0, cache_bytes: int = 0) -> Model:
        """Open a diffusers model folder (model_index.json, unet/, scheduler/; safetensors weights).

        threads: that one call may use, the caller's included; 0: as many as the process may use CPUs. Results do
        not depend on it.
        cache_bytes: memory that the model may spend on transformed filters, beside its weights. Kept, a 3 x 3
        convolution's filters need not be transformed in each step, but four times its float32 weights (eight times
        float16) are read: mostly 0 is fastest. Those that fit are kept. Results do not depend on it.
        Raises IOFailure, FormatError, UnsupportedError, InvalidArgument, OutOfMemory, CPUError.
        """
        options = _options(threads, cache_bytes)
        handle = Handle(lib.mcm_model_free)
        lib.mcm_model_open(convert.path(folder), byref(options), byref(handle))
        return cls(handle)

    @classmethod
    def from_files(cls, files: Mapping[str, BytesLike], threads: int = 0, cache_bytes: int = 0) -> Model:
        """Open a model whose files lie in memory: path inside the folder, e.g. "unet/config.json", to content.

        The contents may be released afterwards. Arguments and errors as for `open`.
        """
        options = _options(threads, cache_bytes)
        contents = [np.frombuffer(content, np.uint8) for content in files.values()]
        array = (native.MemoryFile * len(contents))(
            *(
                native.MemoryFile(convert.text("file name", name), content.ctypes.data, content.size)
                for name, content in zip(files, contents)
            )
        )
        handle = Handle(lib.mcm_model_free)
        lib.mcm_model_open_memory(array, len(array), byref(options), byref(handle))
        return cls(handle)

    @property
    def memory(self) -> Memory:
        """What the model holds at the moment. A session's memory comes on top: `Session.memory`."""
        struct = native.Memory()
        lib.mcm_model_get_memory(self._handle, byref(struct))
        return memory_from(struct)

    def predict(
        self, sample: npt.ArrayLike, timesteps: npt.ArrayLike, class_input: Optional[npt.ArrayLike] = None
    ) -> FloatArray:
        """The network's prediction for a batch: float32, (batch, prediction_channels, height, width).

        sample: (batch, channels, height, width). timesteps: a number, or one per image. class_input: for a model
        that takes one, (batch, class_input_size), or (batch,) if that size is 1.
        Raises InvalidArgument, SizeError, OutOfMemory.
        """
        x = convert.samples("sample", sample)
        batch, _, height, width = x.shape
        t = convert.timesteps(timesteps, batch)
        c = None if class_input is None else convert.floats(class_input)
        prediction = np.empty((batch, self.info.prediction_channels, height, width), np.float32)
        lib.mcm_model_predict(
            self._handle,
            batch,
            width,
            height,
            x.ctypes.data,
            x.size,
            t.ctypes.data,
            convert.address(c),
            0 if c is None else c.size,
            prediction.ctypes.data,
            prediction.size,
        )
        return prediction

    def encode(self, images: ImagesLike) -> FloatArray:
        """Images of one size to samples: float32, (batch, channels, height, width) in [-1, 1].

        Raises InvalidArgument, SizeError; for paths also what `read_png` raises.
        """
        views = Images(images)
        if not views.pixels:
            raise InvalidArgument("no images")
        height, width = views.pixels[0].shape[:2]
        sample = np.empty((len(views.pixels), self.info.channels, height, width), np.float32)
        lib.mcm_model_encode(self._handle, views, len(views.pixels), sample.ctypes.data, sample.size)
        return sample

    def decode(self, sample: npt.ArrayLike) -> ByteArray:
        """A sample (channels, height, width) to uint8 pixels, (height, width) or (height, width, channels).

        A batch of samples (batch, channels, height, width) gives a batch of images. Raises SizeError.
        """
        x = convert.floats(sample)
        if x.ndim not in (3, 4):
            raise SizeError(f"sample has shape {x.shape}, expected ([batch,] channels, height, width)")
        batch = x if x.ndim == 4 else x[np.newaxis]
        count, channels, height, width = batch.shape
        images = np.empty((count, height, width, channels), np.uint8)
        for one, pixels in zip(batch, images):
            lib.mcm_model_decode(
                self._handle, width, height, one.ctypes.data, one.size, pixels.ctypes.data, pixels.size
            )
        result = images[..., 0] if channels == 1 else images
        return result if x.ndim == 4 else result[0]
