"""Pretrained diffusion models."""
from __future__ import annotations

import sys
from collections.abc import Mapping
from ctypes import byref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, TypedDict

import numpy as np

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike, ByteArray, BytesLike, FloatArray, PathLike
from ._images import Images, ImagesLike
from ._native import Handle, Owner, lib
from .errors import InvalidArgument, SizeError

if TYPE_CHECKING:
    from .prompt import Prompt

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

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
    """Identifies the network's weights."""
    scale: int
    """Pixels of an image per pixel of a sample, in each direction; 1 if samples are images."""
    image_channels: int
    text_channels: int
    """Of a text's states that the network reads; 0 if it reads no text."""
    pooled_channels: int
    """Of the pooled text that it reads too (Stable Diffusion XL), else 0."""
    input_channels: int
    """That the network reads: `channels`; in an inpainting model also a mask and the sample of what stays."""
    time_id_count: int
    """Numbers of `Session.set_time_ids` per image: 6 or 5, else 0."""
    encodes_text: bool
    """Whether it has its text encoders."""
    rounding_error: float
    """||rounded - exact|| / ||exact|| of the network's weights with int8_weights, else 0."""


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


class ModelOptions(TypedDict, total=False):
    """Options of `Model.open`; each may be left out."""

    threads: int
    cache_bytes: int
    variant: Optional[str]
    tokenizer: Optional[PathLike]
    prediction_type: Optional[str]
    int8_weights: bool
    on_demand: bool


def model_options(
    threads: int = 0,
    cache_bytes: int = 0,
    variant: Optional[str] = None,
    tokenizer: Optional[PathLike] = None,
    prediction_type: Optional[str] = None,
    int8_weights: bool = False,
    on_demand: bool = False,
) -> native.ModelOptions:
    types = {name: number for number, name in PREDICTION_TYPES.items()}
    if prediction_type is not None and prediction_type not in types:
        raise InvalidArgument(f"prediction_type is {prediction_type!r}, expected one of {', '.join(types)}")
    return native.ModelOptions(
        threads=convert.u32("threads", threads),
        cache_bytes=convert.u64("cache_bytes", cache_bytes),
        variant=None if variant is None else convert.text("variant", variant),
        tokenizer=None if tokenizer is None else convert.path(tokenizer),
        prediction_type=0 if prediction_type is None else types[prediction_type],
        int8_weights=int8_weights,
        on_demand=on_demand,
    )


class Model(Owner):
    """A pretrained diffusion model: network, noise schedule and scheduler defaults; of a latent diffusion model also
    its autoencoder, and of one that reads texts also their encoders. A sample is what the network works on: pixels or
    latents.

    Immutable; any number of threads may use it at the same time. Open it with `Model.open` or `Model.from_files`.
    """

    info: ModelInfo

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        struct = native.ModelInfo()
        lib.mcm_model_get_info(handle, byref(struct))
        values = {name: getattr(struct, name) for name in ModelInfo.__dataclass_fields__}
        values["prediction_type"] = PREDICTION_TYPES.get(struct.prediction_type, "unknown")
        values["fingerprint"] = struct.fingerprint.decode()
        values["encodes_text"] = bool(struct.encodes_text)
        self.info = ModelInfo(**values)

    @classmethod
    def open(cls, path: PathLike, **options: Unpack[ModelOptions]) -> Model:
        """Open a diffusers model folder (model_index.json and a folder for each component; safetensors weights), or a
        .safetensors file in the layout in which Stable Diffusion 1.x, 2.x and XL and latent diffusion are handed round.

        threads: that one call may use, the caller's included; 0 (default): as many as the process may use CPUs.
        Results do not depend on it.
        cache_bytes: memory that the model may spend on transformed filters, beside its weights; default 0. Kept, a
        3 x 3 convolution's filters need not be transformed in each step, but four times its float32 weights (eight
        times float16) are read: mostly 0 is fastest. Those that fit are kept. Results do not depend on it.
        variant: of the weights' file names, e.g. "fp16".
        tokenizer: of a model in one file, the folder of its tokenizer; default: CLIP's own.
        prediction_type: "epsilon", "sample" or "v_prediction", before what the model's files say, or where they do not.
        int8_weights: large matrices become 8-bit integers, see `ModelInfo.rounding_error`; default False.
        on_demand: text encoders and autoencoder are loaded when they are needed and freed afterwards; default False.
        Raises IOFailure, FormatError, UnsupportedError, InvalidArgument, OutOfMemory, CPUError.
        """
        struct = model_options(**options)
        handle = Handle(lib.mcm_model_free)
        lib.mcm_model_open(convert.path(path), byref(struct), byref(handle))
        return cls(handle)

    @classmethod
    def from_files(cls, files: Mapping[str, BytesLike], **options: Unpack[ModelOptions]) -> Model:
        """Open a model whose files lie in memory: path inside the folder, e.g. "unet/config.json", to content; or
        a single .safetensors file.

        The contents may be released afterwards. Options and errors as for `open`.
        """
        struct = model_options(**options)
        contents = [np.frombuffer(content, np.uint8) for content in files.values()]
        array = (native.MemoryFile * len(contents))(
            *(
                native.MemoryFile(convert.text("file name", name), content.ctypes.data, content.size)
                for name, content in zip(files, contents)
            )
        )
        handle = Handle(lib.mcm_model_free)
        lib.mcm_model_open_memory(array, len(array), byref(struct), byref(handle))
        return cls(handle)

    @property
    def memory(self) -> Memory:
        """What the model holds at the moment. A session's memory comes on top: `Session.memory`."""
        struct = native.Memory()
        lib.mcm_model_get_memory(self._handle, byref(struct))
        return memory_from(struct)

    def predict(
        self,
        sample: ArrayLike,
        timesteps: ArrayLike,
        class_input: Optional[ArrayLike] = None,
        prompt: Optional[Prompt] = None,
        time_ids: Optional[ArrayLike] = None,
        timestep_cond: Optional[ArrayLike] = None,
        out: Optional[FloatArray] = None,
    ) -> FloatArray:
        """The network's prediction for a batch: float32, (batch, prediction_channels, height, width).

        sample: (batch, input_channels, height, width). timesteps: a number, or one per image. class_input: for a
        model that takes one, (batch, class_input_size), or (batch,) if that size is 1. prompt: for a model that reads
        a text. time_ids: (batch, time_id_count), by default those of a whole image. timestep_cond: a consistency
        model's guidance embedding, by default zeros. out: an array to write the prediction to, and to return, instead
        of a new one; it may not overlap what is read.
        Raises InvalidArgument, SizeError, StateError, IncompatibleError, OutOfMemory.
        """
        from .prompt import Prompt

        texts = None if prompt is None else Prompt._handle_of("prompt", prompt)
        x = convert.samples("sample", sample)
        batch, _, height, width = x.shape
        t = convert.timesteps(timesteps, batch)
        c = None if class_input is None else convert.floats("class_input", class_input)
        ids = None if time_ids is None else convert.floats_of_shape(
            "time_ids", time_ids, (batch, self.info.time_id_count)
        )
        cond = None if timestep_cond is None else convert.floats("timestep_cond", timestep_cond)
        options = native.PredictOptions(
            class_input_count=0 if c is None else c.size,
            class_input=convert.address(c),
            prompt=texts,
            time_ids=convert.address(ids),
            timestep_cond=convert.address(cond),
            timestep_cond_count=0 if cond is None else cond.size,
        )
        shape = (batch, self.info.prediction_channels, height, width)
        prediction = convert.output("out", out, shape, x, t, c, ids, cond)
        lib.mcm_model_predict_with(
            self._handle,
            batch,
            width,
            height,
            x.ctypes.data,
            x.size,
            t.ctypes.data,
            byref(options),
            prediction.ctypes.data,
            prediction.size,
        )
        return prediction

    def encode(self, images: ImagesLike) -> FloatArray:
        """Images of one size to samples: float32, (batch, channels, height / scale, width / scale), in [-1, 1] or the
        means of their latents.

        Raises InvalidArgument, SizeError; for paths also what `read_png` raises.
        """
        views = Images(images)
        if not views.pixels:
            raise InvalidArgument("no images")
        height, width = (size // self.info.scale for size in views.pixels[0].shape[:2])
        sample = np.empty((len(views.pixels), self.info.channels, height, width), np.float32)
        lib.mcm_model_encode(self._handle, views, len(views.pixels), sample.ctypes.data, sample.size)
        return sample

    def decode(self, sample: ArrayLike) -> ByteArray:
        """A sample (channels, height, width) to uint8 pixels, (height * scale, width * scale[, image_channels]).

        A batch of samples (batch, channels, height, width) gives a batch of images. Raises SizeError.
        """
        x = convert.floats("sample", sample)
        if x.ndim not in (3, 4):
            raise SizeError(f"sample has shape {x.shape}, expected ([batch,] channels, height, width)")
        batch = x if x.ndim == 4 else x[np.newaxis]
        count, _, height, width = batch.shape
        scale, channels = self.info.scale, self.info.image_channels
        images = np.empty((count, height * scale, width * scale, channels), np.uint8)
        for one, pixels in zip(batch, images):
            lib.mcm_model_decode(
                self._handle, width, height, one.ctypes.data, one.size, pixels.ctypes.data, pixels.size
            )
        result = images[..., 0] if channels == 1 else images
        return result if x.ndim == 4 else result[0]
