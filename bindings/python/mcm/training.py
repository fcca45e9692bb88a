"""Trainers: a module learns on a frozen model."""
from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from ctypes import byref, c_size_t, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

import numpy as np

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike, FloatArray, PathLike
from ._images import Conditions, Images, ImagesLike
from ._native import Handle, Owner, lib
from .dataset import Bank, Dataset
from .errors import InvalidArgument
from .model import Model
from .modulator import Modality, Modulator, modality_from
from .prompt import Prompt
from .training_options import NativeOptions, TrainerOptions, choice

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

_DTYPES = {"f32": native.F32, "f16": native.F16}
_TIMESTEP_BUCKETS = 10


def _base(base: Union[Model, Bank]) -> tuple[Optional[Handle], Optional[Handle]]:
    """Handles of a model or a bank."""
    if isinstance(base, Model):
        return base._handle, None
    if isinstance(base, Bank):
        return None, base._handle
    raise TypeError(f"the base is {type(base).__name__}, expected Model or Bank")


class _Buffer:
    """Floats of a trainer as numpy sees them: an array of them keeps the trainer's memory."""

    def __init__(self, owner: Handle, address: int, count: int) -> None:
        self._owner = owner
        self.__array_interface__ = {"version": 3, "shape": (count,), "typestr": "<f4", "data": (address, False)}


@dataclass(frozen=True)
class TrainReport:
    """What was learned from a batch; losses are means over its examples."""

    loss: float
    """Squared error of the module's prediction."""
    weighted_loss: float
    """The same, weighted by timestep: what is made smaller."""
    base_loss: float
    """Squared error of the model's own prediction."""
    gradient_norm: float
    """Before clipping; 0 if no step was taken."""
    learning_rate: float
    """Of the step; 0 if none was taken."""
    step: int
    """Steps taken so far."""
    examples: int
    """Seen so far, by all processes of `world`."""
    base_seconds: float
    """Wall time of the model's prediction,"""
    module_seconds: float
    """of the module's way forward and back,"""
    optimizer_seconds: float
    """and of the optimiser."""


def report_from(struct: native.TrainReport) -> TrainReport:
    return TrainReport(**{name: getattr(struct, name) for name in TrainReport.__dataclass_fields__})


@dataclass(frozen=True)
class TrainerState:
    """Where a trainer stands."""

    modality_count: int
    step: int
    """Steps taken."""
    examples: int
    """Seen, by all processes of `world`."""
    pending: int
    """Examples whose gradients are accumulated here."""
    total_steps: int
    """Of the options."""
    parameter_count: int
    """Numbers."""
    tensor_count: int
    """Tensors that they make up."""


@dataclass(frozen=True)
class Losses:
    """Mean losses of some examples; 0 if there are none."""

    count: int
    """Examples."""
    loss: float
    base_loss: float
    """Of the model's own prediction."""


class ModalityLosses(NamedTuple):
    """Losses by whether a modality was there."""

    given: Losses
    withheld: Losses


class Trainer(Owner):
    """A module being trained, with its optimiser:

        trainer = mcm.Trainer(model, config, total_steps=2000)
        mcm.train(trainer, dataset, save="module.trainer")
        trainer.write_modulator("module.safetensors")

    base: the frozen model; or a bank, which stands for it: examples can only be drawn from banks then. config: what the
    module is to be, as the "config" of a module file (docs/format.md), as JSON or as what json.dumps makes it from;
    "base" is filled in. A module begins as one that changes nothing. The same seed gives the same weights, bit for bit,
    with any number of threads. options: see `TrainerOptions`.

    Belongs to one thread at a time. Raises InvalidArgument, IncompatibleError, FormatError (a config that cannot be
    built), UnsupportedError (a model with a class input or a learned variance), OutOfMemory.
    """

    def __init__(
        self, base: Union[Model, Bank], config: Union[str, Mapping[str, Any]], **options: Unpack[TrainerOptions]
    ) -> None:
        text = config if isinstance(config, str) else json.dumps(config)
        native_options = NativeOptions(options)
        handle = Handle(lib.mcm_trainer_free)
        native_base, name = _base(base), convert.text("config", text)
        lib.mcm_trainer_create(*native_base, name, byref(native_options.struct), byref(handle))
        super().__init__(handle)

    @classmethod
    def _of(cls, handle: Handle) -> Trainer:
        trainer = cls.__new__(cls)
        Owner.__init__(trainer, handle)
        return trainer

    @classmethod
    def from_module(cls, base: Union[Model, Bank], path: PathLike, **options: Unpack[TrainerOptions]) -> Trainer:
        """A trainer that begins with the weights of a module file. Otherwise as the constructor; also IOFailure."""
        native_options = NativeOptions(options)
        handle = Handle(lib.mcm_trainer_free)
        native_base, name = _base(base), convert.path(path)
        lib.mcm_trainer_create_from(*native_base, name, byref(native_options.struct), byref(handle))
        return cls._of(handle)

    @classmethod
    def resume(
        cls,
        base: Union[Model, Bank],
        path: PathLike,
        threads: int = 0,
        rank: int = 0,
        world: int = 0,
        total_steps: int = 0,
        learning_rate: float = 0,
    ) -> Trainer:
        """Go on from a file that `save` has written: the weights will be those of a trainer that never stopped, bit for
        bit. threads: as of `Model.open`; only with a bank. rank, world: as in `TrainerOptions`, for one file to serve
        all processes. total_steps, learning_rate: to go on for longer. What is 0 is as saved. Raises also IOFailure,
        IncompatibleError for another model, and StateError for gradients that wait in the file of another rank.
        """
        options = native.ResumeOptions(
            threads=convert.u32("threads", threads),
            rank=convert.u32("rank", rank),
            world=convert.u32("world", world),
            total_steps=convert.u64("total_steps", total_steps),
            learning_rate=learning_rate,
        )
        handle = Handle(lib.mcm_trainer_free)
        lib.mcm_trainer_resume(*_base(base), convert.path(path), byref(options), byref(handle))
        return cls._of(handle)

    @property
    def state(self) -> TrainerState:
        struct = native.TrainerState()
        lib.mcm_trainer_get_state(self._handle, byref(struct))
        return TrainerState(**{name: getattr(struct, name) for name in TrainerState.__dataclass_fields__})

    def step(
        self,
        images: Optional[ImagesLike] = None,
        samples: Optional[ArrayLike] = None,
        conditions: Optional[Mapping[str, ImagesLike]] = None,
        prompt: Optional[Prompt] = None,
    ) -> TrainReport:
        """Accumulate a batch's gradients and take a step; if either fails, neither has happened.

        images: examples in pixel space, all of one size, a list or (batch, height, width[, channels]); or samples:
        (batch, channels, height, width), float32, in the model's sample space. conditions: by modality, one image per
        example, of any size. Modalities that are not named are withheld. prompt: for a model that reads a text, of one
        example or of all. Images of a latent diffusion model are encoded each time: see `Dataset.encode`.
        Raises InvalidArgument, SizeError, IncompatibleError, OutOfMemory, and StateError for a loss or gradient that is
        not finite, while gradients wait to be applied, when all total_steps are taken, and for one of several processes
        (`world`), which accumulates and applies.
        """
        return self._learn(lib.mcm_trainer_step, images, samples, conditions, prompt)

    def accumulate(
        self,
        images: Optional[ImagesLike] = None,
        samples: Optional[ArrayLike] = None,
        conditions: Optional[Mapping[str, ImagesLike]] = None,
        prompt: Optional[Prompt] = None,
    ) -> TrainReport:
        """Add a batch's gradients to those accumulated. Arguments and errors as for `step`."""
        return self._learn(lib.mcm_trainer_accumulate, images, samples, conditions, prompt)

    def evaluate(
        self,
        images: Optional[ImagesLike] = None,
        samples: Optional[ArrayLike] = None,
        conditions: Optional[Mapping[str, ImagesLike]] = None,
        averaged: bool = True,
        prompt: Optional[Prompt] = None,
    ) -> TrainReport:
        """The losses of a batch, without learning from it: timesteps are spread over their range; they and the noise
        are the same in each call; no condition is withheld. averaged: as of `modulator`. Other arguments and errors as
        for `step`.
        """
        return self._learn(lib.mcm_trainer_evaluate, images, samples, conditions, prompt, averaged)

    def evaluate_dataset(
        self, dataset: Dataset, count: int, bank: Optional[Bank] = None, averaged: bool = True
    ) -> TrainReport:
        """`evaluate` on the first `count` examples of a data set, or records of a bank."""
        return self._draw(lib.mcm_trainer_evaluate_dataset, dataset, count, bank, averaged)

    def _learn(
        self,
        function: Any,
        images: Optional[ImagesLike],
        samples: Optional[ArrayLike],
        conditions: Optional[Mapping[str, ImagesLike]],
        prompt: Optional[Prompt],
        *more: object,
    ) -> TrainReport:
        given = Conditions(conditions or {})
        batch = native.Batch(conditions=given._as_parameter_, condition_count=len(given.images))
        texts = None if prompt is None else Prompt._handle_of("prompt", prompt)
        batch.prompt = texts
        if images is not None and samples is None:
            views = Images(images)
            batch.images, batch.count = views._as_parameter_, len(views.pixels)
        elif samples is not None and images is None:
            x0 = convert.samples("samples", samples)
            batch.samples, batch.sample_count = x0.ctypes.data, x0.size
            batch.count, batch.height, batch.width = len(x0), *x0.shape[2:]
        else:
            raise InvalidArgument(f"{'neither' if images is None else 'both'} images and samples given, expected one")
        report = native.TrainReport()
        function(self._handle, byref(batch), *more, byref(report))
        return report_from(report)

    def apply(self) -> TrainReport:
        """Take a step along the accumulated gradients, divided by the number of examples; losses in the report are 0.

        Raises StateError if none are accumulated, if they are not finite, or when all total_steps are taken.
        """
        report = native.TrainReport()
        lib.mcm_trainer_apply(self._handle, byref(report))
        return report_from(report)

    def clear(self) -> None:
        """Forget the accumulated gradients."""
        lib.mcm_trainer_clear(self._handle)

    def step_dataset(self, dataset: Dataset, count: int, bank: Optional[Bank] = None) -> TrainReport:
        """`step` with the next `count` examples of a data set, in an order that follows from the seed and that each
        epoch shuffles. With a bank, the examples are its records; it must have been recorded from this trainer's model
        and for these images. Raises also FormatError.
        """
        return self._draw(lib.mcm_trainer_step_dataset, dataset, count, bank)

    def accumulate_dataset(self, dataset: Dataset, count: int, bank: Optional[Bank] = None) -> TrainReport:
        """`accumulate` with the next `count` examples, as `step_dataset`."""
        return self._draw(lib.mcm_trainer_accumulate_dataset, dataset, count, bank)

    def _draw(
        self, function: Any, dataset: Dataset, count: int, bank: Optional[Bank], *more: object
    ) -> TrainReport:
        report = native.TrainReport()
        bank_handle = None if bank is None else Bank._handle_of("bank", bank)
        examples = Dataset._handle_of("dataset", dataset)
        function(self._handle, examples, bank_handle, convert.u32("count", count), *more, byref(report))
        return report_from(report)

    def _buffer(self, index: int) -> FloatArray:
        addresses, count = (c_void_p(), c_void_p(), c_void_p()), c_size_t()
        handle = self._handle
        lib.mcm_trainer_get_buffers(handle, *map(byref, addresses), byref(count))
        address = addresses[index].value
        return np.empty(0, np.float32) if address is None else np.asarray(_Buffer(handle, address, count.value))

    @property
    def parameters(self) -> FloatArray:
        """All parameters, (parameter_count,) float32: the trainer's own memory, to read and write between calls.
        Assigning copies into it. An array outlives `close`.
        """
        return self._buffer(0)

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        self._assign("parameters", self._buffer(0), values)

    @property
    def gradients(self) -> FloatArray:
        """The sum of the accumulated examples' gradients, in the order of `parameters`, likewise the trainer's own
        memory. With several processes that accumulated equally many, the mean of these is what all should apply.
        """
        return self._buffer(1)

    @gradients.setter
    def gradients(self, values: ArrayLike) -> None:
        self._assign("gradients", self._buffer(1), values)

    @property
    def ema(self) -> FloatArray:
        """The moving average of the parameters, likewise; empty if there is none. Writing to `parameters` leaves it."""
        return self._buffer(2)

    @ema.setter
    def ema(self, values: ArrayLike) -> None:
        self._assign("ema", self._buffer(2), values)

    @staticmethod
    def _assign(name: str, buffer: FloatArray, values: ArrayLike) -> None:
        buffer[...] = convert.floats_of_shape(name, values, buffer.shape)

    @property
    def named_parameters(self) -> dict[str, FloatArray]:
        """Views of `parameters` by their keys in the module's file, in the tensors' shapes."""
        return self._named(self.parameters)

    @property
    def named_gradients(self) -> dict[str, FloatArray]:
        """Views of `gradients`, likewise."""
        return self._named(self.gradients)

    def _named(self, buffer: FloatArray) -> dict[str, FloatArray]:
        views = {}
        for index in range(self.state.tensor_count):
            info = native.ParameterInfo()
            lib.mcm_trainer_get_parameter(self._handle, index, byref(info))
            elements = buffer[info.offset : info.offset + info.count]
            views[info.name.decode()] = elements.reshape(tuple(info.shape)[: info.rank])
        return views

    def _losses(self, kind: int, index: int) -> Losses:
        struct = native.Losses()
        lib.mcm_trainer_get_losses(self._handle, kind, index, byref(struct))
        return Losses(struct.count, struct.loss, struct.base_loss)

    @property
    def losses_by_timestep(self) -> tuple[Losses, ...]:
        """Mean losses for each tenth of the timesteps, low noise first, since the trainer was made, resumed or told to
        `reset_losses`.
        """
        return tuple(self._losses(native.LOSSES_TIMESTEP, index) for index in range(_TIMESTEP_BUCKETS))

    @property
    def losses_by_modality(self) -> dict[str, ModalityLosses]:
        """The same by modality: of the examples that it was given in, and of the others."""
        return {
            modality.name: ModalityLosses(
                self._losses(native.LOSSES_GIVEN, index), self._losses(native.LOSSES_WITHHELD, index)
            )
            for index, modality in enumerate(self.modalities)
        }

    def reset_losses(self) -> None:
        """Begin the mean losses anew."""
        lib.mcm_trainer_reset_losses(self._handle)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the module follows."""
        return tuple(self._modality(index) for index in range(self.state.modality_count))

    def _modality(self, index: int) -> Modality:
        info = native.ModalityInfo()
        lib.mcm_trainer_get_modality(self._handle, index, byref(info))
        return modality_from(info)

    def save(self, path: PathLike) -> None:
        """Write all of the trainer, at once or not at all, for `resume`.

        Raises IOFailure, and StateError if what is to be saved is not finite.
        """
        lib.mcm_trainer_save(self._handle, convert.path(path))

    def modulator(self, averaged: bool = True) -> Modulator:
        """The module as it is now, for sampling. averaged: with the moving average of its weights, if there is one."""
        handle = Handle(lib.mcm_modulator_free)
        lib.mcm_trainer_get_modulator(self._handle, averaged, byref(handle))
        return Modulator(handle)

    def write_modulator(self, path: PathLike, averaged: bool = True, dtype: str = "f16") -> None:
        """Write the module's file, at once or not at all. averaged: as of `modulator`. dtype: "f16" or "f32".

        Raises InvalidArgument, IOFailure, and StateError for a weight that is not finite or that "f16" does not hold.
        """
        number = choice("dtype", dtype, _DTYPES)
        lib.mcm_trainer_write_modulator(self._handle, convert.path(path), averaged, number)
