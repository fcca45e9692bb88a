"""Options of trainers."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import byref
from typing import Any, TypedDict, Union

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
    """Options of a `Trainer`; each may be left out."""

    warmup_steps: int
    """In which the learning rate rises from 0, at most total_steps; 200."""
    total_steps: int
    """By which it has fallen to 0 along a cosine, and after which no step can be taken; 0: it stays."""
    seed: int
    """Of the first weights, of timesteps, noise, dropout and the order of examples; 0."""
    learning_rate: float
    """2e-3."""
    weight_decay: float
    """AdamW's, for kernels and matrices only; 1e-4."""
    beta1: float
    """0.9."""
    beta2: float
    """0.999."""
    epsilon: float
    """1e-8."""
    clip_norm: float
    """The gradient is scaled down to this norm; 1. 0: not at all."""
    ema_decay: float
    """Of the moving average of the weights; 0.999. 0: none."""
    weighting: str
    """What an error counts by its timestep: "noise" (sqrt((1 - abar) / abar), clipped; the default), "min_snr" or
    "uniform"."""
    min_snr_gamma: float
    """5."""
    noise_weight_low: float
    """Where "noise" is clipped; 0.3."""
    noise_weight_high: float
    """And 10."""
    timesteps: str
    """How they are drawn: "uniform" (errors are weighted then; the default) or "weighted", in proportion to the
    weighting."""
    first_timestep: int
    """They are drawn from first_timestep .. end_timestep - 1; 0 and 0: from all."""
    end_timestep: int
    rank: int
    """Of several processes that share each step, which this is; 0."""
    world: int
    """Of how many; 1. Each draws timesteps, noise and examples of its own, accumulates, and applies the mean of all; it
    cannot take steps alone."""
    dropout: Union[float, Sequence[float]]
    """How often a modality is withheld, for any subset to work later: one number, or one per modality; 0.3."""
    threads: int
    """As of `Model.open`; only for a trainer that is given a bank."""


def choice(name: str, value: str, choices: Mapping[str, int]) -> int:
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
            self.dropout = np.atleast_1d(convert.floats(value))
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
