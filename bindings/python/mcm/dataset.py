"""What trainers learn from: examples in a file, and a model's recorded predictions for them."""
from __future__ import annotations

from ctypes import byref
from typing import Any, Callable, Optional, Union

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from . import _safetensors as safetensors
from ._callback import Callback
from ._convert import ArrayLike, PathLike
from ._native import Handle, Owner, lib
from ._progress import Bar, HeldInterrupt
from .errors import Cancelled, InvalidArgument, SizeError
from .model import Model
from .prompt import Prompt


def _image_tensor(name: str, value: ArrayLike) -> safetensors.Tensor:
    array = convert.numbers(f"'{name}'", value)
    shape = (*array.shape, 1) if array.ndim == 3 else array.shape
    if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        expected = "(examples, height, width) or (examples, height, width, 1 or 3)"
        raise SizeError(f"'{name}' has shape {array.shape}, expected {expected}")
    return safetensors.Tensor(name, array, "U8" if array.dtype.kind in "iu" else "F32", shape)


def _sample_tensor(value: ArrayLike) -> safetensors.Tensor:
    array = convert.numbers("'samples'", value)
    if array.ndim != 4 or 0 in array.shape:
        raise SizeError(f"'samples' has shape {array.shape}, expected (examples, channels, height, width)")
    return safetensors.Tensor("samples", array, "F32", array.shape)


PromptsLike = Union[Prompt, ArrayLike, tuple[ArrayLike, ArrayLike]]
"""Encoded texts: a `Prompt`; or diffusers' prompt_embeds, (prompts, tokens, channels), or these with
pooled_prompt_embeds, (prompts, channels). float16 is stored as such."""


def _prompt_tensor(name: str, value: ArrayLike, axes: str, count: Optional[int]) -> safetensors.Tensor:
    array = convert.numbers(f"'{name}'", value)
    if array.ndim != axes.count(",") + 1 or 0 in array.shape or count not in (None, len(array)):
        raise SizeError(f"'{name}' has shape {array.shape}, expected ({axes})")
    return safetensors.Tensor(name, array, "F16" if array.dtype == np.float16 else "F32", array.shape)


def _prompt_tensors(
    prompts: PromptsLike, prompt_index: Optional[ArrayLike], examples: int
) -> list[safetensors.Tensor]:
    """examples: how many there are."""
    pooled: Optional[ArrayLike] = None
    if isinstance(prompts, Prompt):
        states: ArrayLike = prompts.states
        pooled = prompts.pooled if prompts.pooled_channels else None
    elif isinstance(prompts, tuple):
        states, pooled = prompts
    else:
        states = prompts
    tensors = [_prompt_tensor("prompt_embeds", states, "prompts, tokens, channels", None)]
    count = tensors[0].shape[0]
    if pooled is not None:
        tensors.append(_prompt_tensor("pooled_prompt_embeds", pooled, f"{count}, channels", count))
    if prompt_index is None:
        if count not in (1, examples):
            raise SizeError(f"{count} prompts for {examples} examples and no prompt_index, expected 1 or {examples}")
        return tensors
    index = convert.numbers("prompt_index", prompt_index)
    if index.dtype.kind not in "iu" or index.shape != (examples,):
        found = f"prompt_index has dtype {index.dtype} and shape {index.shape}"
        raise SizeError(f"{found}, expected integers, ({examples},)")
    if not (0 <= index.min() and index.max() < count):
        raise InvalidArgument(f"prompt_index has values {index.min()} .. {index.max()}, expected 0 .. {count - 1}")
    return [*tensors, safetensors.Tensor("prompt_index", index, "I32", index.shape)]


def write_dataset(
    path: PathLike,
    /,
    images: Optional[ArrayLike] = None,
    samples: Optional[ArrayLike] = None,
    prompts: Optional[PromptsLike] = None,
    prompt_index: Optional[ArrayLike] = None,
    **conditions: ArrayLike,
) -> None:
    """Write a data set file, at once or not at all. Arrays may be larger than memory (numpy.memmap).

    images: (examples, height, width[, channels]) in pixel space; or samples: (examples, channels, height, width), in
    the model's sample space. conditions: by modality, (examples, height, width[, channels]) of any height and width:
    intensities, or class indices in one channel.

    prompts: for a model that reads a text, a `Prompt`, prompt_embeds, or (prompt_embeds, pooled_prompt_embeds).
    prompt_index: which of them belongs to each example, (examples,); not needed with one for each or one for all.

    Samples are stored as float32. Of images and conditions, integers are stored as uint8 and must lie in 0 .. 255,
    float and bool as float32, where intensities are [0, 1].
    Raises SizeError, InvalidArgument, IOFailure; the old file, if any, is then still there.
    """
    if images is not None and samples is None:
        examples = _image_tensor("images", images)
    elif samples is not None and images is None:
        examples = _sample_tensor(samples)
    else:
        raise InvalidArgument(f"{'neither' if images is None else 'both'} images and samples given, expected one")
    tensors = [examples]
    if prompts is not None:
        tensors += _prompt_tensors(prompts, prompt_index, examples.shape[0])
    elif prompt_index is not None:
        raise InvalidArgument("prompt_index given without prompts")
    for name, value in conditions.items():
        convert.text("modality", name)
        if not name or name in ("__metadata__", "prompt_embeds", "pooled_prompt_embeds"):
            raise InvalidArgument(f"modality {name!r} is not a possible name")
        tensor = _image_tensor(name, value)
        if tensor.shape[0] != examples.shape[0]:
            raise SizeError(
                f"'{name}' holds {tensor.shape[0]} examples, expected {examples.shape[0]}, as many as "
                f"'{examples.name}'"
            )
        tensors.append(tensor)
    safetensors.write(path, tensors)


class Dataset(Owner):
    """Examples in a file, as `write_dataset` makes it, which is mapped and read as they are drawn.

    Immutable; any number of threads may use it. The file must not change meanwhile; `write_dataset` replaces it, which
    does no harm. Raises IOFailure, FormatError, UnsupportedError.
    """

    shape: tuple[int, int, int, int]
    """(examples, channels, height, width), also if the file holds images."""
    modalities: tuple[str, ...]
    """Names of the conditions that the examples have."""
    fingerprint: str
    """Identifies the images."""

    def __init__(self, path: PathLike) -> None:
        handle = Handle(lib.mcm_dataset_free)
        lib.mcm_dataset_open(convert.path(path), byref(handle))
        super().__init__(handle)
        info = native.DatasetInfo()
        lib.mcm_dataset_get_info(handle, byref(info))
        self.shape = (info.count, info.channels, info.height, info.width)
        self.fingerprint = info.fingerprint.decode()
        self.modalities = tuple(self._modality(index) for index in range(info.modality_count))

    def _modality(self, index: int) -> str:
        info = native.ModalityInfo()
        lib.mcm_dataset_get_modality(self._handle, index, byref(info))
        name: bytes = info.name
        return name.decode()

    def __len__(self) -> int:
        return self.shape[0]

    def encode(self, model: Model, path: PathLike, progress: Progress = None) -> Dataset:
        """Write a data set of samples for a latent diffusion model, and open it: the means of the images' latents,
        encoded once, so that training need not do it in each step. Conditions and prompts are taken over.

        progress: as of `Bank.record`, after each example. After Ctrl-C or an exception of `progress` nothing is
        written.
        Raises IncompatibleError, SizeError, FormatError, IOFailure, OutOfMemory.
        """
        name = convert.path(path)
        _watched(
            progress, " examples", len(self), native.DatasetProgress,
            lambda callback: lib.mcm_dataset_encode(self._handle, model._handle, name, callback, None),
        )
        return Dataset(path)


Progress = Union[bool, Callable[[int, int], object], None]
"""None, True or False, for a bar; or a function of the numbers of examples or records done and in all."""


def _watched(
    progress: Progress, unit: str, total: int, prototype: Any, call: Callable[[Any], object]
) -> None:
    """A long call that is given a callback: with a bar, stopped by Ctrl-C and by what `progress` raises."""
    shown = False if callable(progress) else progress
    with HeldInterrupt() as interrupt, Bar(shown, unit, total=total) as bar:

        def stop(user: object, done: int, count: int) -> bool:
            bar.update(done)
            if callable(progress):
                progress(done, count)
            return interrupt.held

        with Callback(stop) as callback:
            try:
                call(prototype(callback))
            except Cancelled:
                if not interrupt.held:
                    raise


class Bank(Owner):
    """A frozen model's predictions, recorded once with `Bank.record`: modules are trained from them without running the
    model again, nor loading it.

    Opening reads and checks all of the file. Immutable; any number of threads may use it.
    Raises IOFailure, FormatError, UnsupportedError.
    """

    shape: tuple[int, int, int, int]
    """(records, channels, height, width)."""
    base_fingerprint: str
    """Of the model."""
    image_fingerprint: str
    """Of the data set."""
    timesteps: tuple[int, int]
    """(first, end): records are of first .. end - 1."""

    def __init__(self, path: PathLike) -> None:
        handle = Handle(lib.mcm_bank_free)
        lib.mcm_bank_open(convert.path(path), byref(handle))
        super().__init__(handle)
        info = native.BankInfo()
        lib.mcm_bank_get_info(handle, byref(info))
        self.shape = (info.count, info.channels, info.height, info.width)
        self.base_fingerprint = info.base_fingerprint.decode()
        self.image_fingerprint = info.image_fingerprint.decode()
        self.timesteps = (info.first_timestep, info.end_timestep)

    def __len__(self) -> int:
        return self.shape[0]

    @classmethod
    def record(
        cls,
        model: Model,
        dataset: Dataset,
        path: PathLike,
        count: int,
        seed: int = 0,
        batch: int = 16,
        timesteps: Optional[tuple[int, int]] = None,
        progress: Progress = None,
    ) -> Bank:
        """Record `count` predictions into the file `path`, in half precision, and open it.

        Each image of the data set is in equally many records, but for one. timesteps: (first, end), drawn evenly from
        first .. end - 1; None: from all. batch: records made at a time; they do not depend on it. progress: None for a
        tqdm bar if tqdm is installed and stderr is a terminal, True or False to decide; or a function that is called
        with the numbers of records done and in all after each batch, and that stops by raising anything.

        Records are collected in `path`.part, which becomes `path` when it is complete. After Ctrl-C, an exception of
        `progress` or the process's end, the same call goes on where it stopped.
        Raises InvalidArgument, SizeError, StateError (`path`.part is a recording with other options, or a prediction
        does not fit half precision), IncompatibleError, UnsupportedError (as `Trainer`), IOFailure, FormatError,
        OutOfMemory.
        """
        first, end = (0, 0) if timesteps is None else timesteps
        if timesteps is not None and not 0 <= first < end:
            raise InvalidArgument(f"timesteps are {first} to {end}, expected 0 <= first < end")
        options = native.BankOptions(
            batch=convert.u32("batch", batch),
            count=convert.u64("count", count),
            seed=convert.u64("seed", seed),
            first_timestep=convert.u32("first timestep", first),
            end_timestep=convert.u32("end timestep", end),
        )
        name = convert.path(path)
        _watched(
            progress, " records", count, native.BankProgress,
            lambda callback: lib.mcm_bank_record(
                model._handle, dataset._handle, name, byref(options), callback, None
            ),
        )
        return cls(path)
