"""Options of trainers."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import byref
from typing import Any, TypedDict, TypeVar, Union

import numpy as np

from . import _convert as convert
from . import _native as native
from ._native import lib
from .errors import InvalidArgument

_WEIGHTINGS = {
    "uniform": native.WEIGHTING_UNIFORM,
    "min_snr": native.WEIGHTING_MIN_SNR,
    "noise": native.WEIGHTING_NOISE,
}
_TIMESTEPS = {"uniform": native.TIMESTEPS_UNIFORM, "weighted": native.TIMESTEPS_WEIGHTED}


class TrainerOptions(TypedDict, total=False):
    """Options of a `Trainer`; each may be left out.

    warmup_steps: in which the learning rate rises from 0, at most total_steps; 200.
    total_steps: by which it has fallen to 0 along a cosine, and after which no step can be taken; 0: it stays; 0.
    seed: of the first weights, of timesteps, noise, dropout and the order of examples; 0.
    learning_rate: 2e-3.
    weight_decay: AdamW's, for kernels and matrices only; 1e-4.
    beta1, beta2, epsilon: AdamW's; 0.9, 0.999, 1e-8.
    clip_norm: the gradient is scaled down to this norm; 1. 0: not at all.
    ema_decay: of the moving average of the weights; 0.999. 0: none.
    weighting: what an error counts by its timestep: "noise" (sqrt((1 - abar) / abar), clipped; the default), "min_snr"
        or "uniform".
    min_snr_gamma: 5.
    noise_weight_low, noise_weight_high: where "noise" is clipped; 0.3, 10.
    timesteps: how they are drawn: "uniform" (errors are weighted then; the default) or "weighted", in proportion to the
        weighting.
    first_timestep, end_timestep: they are drawn from first_timestep .. end_timestep - 1; 0 and 0 (default): from all.
    rank, world: of several processes that share each step, which this is, of how many; 0 of 1. Each draws timesteps,
        noise and examples of its own, accumulates, and applies the mean of all; it cannot take steps alone.
    dropout: how often a modality is withheld, for any subset to work later: one number, or one per modality; 0.3.
    threads: as of `Model.open`; only for a trainer that is given a bank.
    """

    warmup_steps: int
    total_steps: int
    seed: int
    learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    clip_norm: float
    ema_decay: float
    weighting: str
    min_snr_gamma: float
    noise_weight_low: float
    noise_weight_high: float
    timesteps: str
    first_timestep: int
    end_timestep: int
    rank: int
    world: int
    dropout: Union[float, Sequence[float]]
    threads: int


T = TypeVar("T")


def choice(name: str, value: str, choices: Mapping[str, T]) -> T:
    if value not in choices:
        raise InvalidArgument(f"{name} is {value!r}, expected one of {', '.join(choices)}")
    return choices[value]


class NativeOptions:
    """mcm_trainer_options and the array that it points to. Names that it lacks are a TypeError."""

    def __init__(self, options: TrainerOptions) -> None:
        self.struct = native.TrainerOptions()
        lib.mcm_trainer_options_init(byref(self.struct), self.struct.struct_size)
        for name, value in options.items():
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        if name not in TrainerOptions.__annotations__:
            raise TypeError(f"unknown option {name!r}, expected one of {', '.join(TrainerOptions.__annotations__)}")
        if name == "dropout":
            self.dropout = np.atleast_1d(convert.floats("dropout", value))
            if self.dropout.ndim != 1 or self.dropout.size == 0:
                raise InvalidArgument(f"dropout is {value!r}, expected a number or one per modality")
            self.struct.dropout, self.struct.dropout_count = self.dropout.ctypes.data, self.dropout.size
        elif name == "weighting":
            self.struct.weighting = choice(name, value, _WEIGHTINGS)
        elif name == "timesteps":
            self.struct.timesteps = choice(name, value, _TIMESTEPS)
        elif name in ("total_steps", "seed"):
            setattr(self.struct, name, convert.u64(name, value))
        elif isinstance(getattr(self.struct, name), int):
            setattr(self.struct, name, convert.u32(name, value))
        else:
            setattr(self.struct, name, value)
