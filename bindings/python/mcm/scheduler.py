"""The arithmetic between predictions."""
from __future__ import annotations

from ctypes import byref, c_int32, c_uint32
from typing import NamedTuple, Optional

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from ._convert import FloatArray
from ._native import Handle, Owner, lib
from .errors import InvalidArgument, SizeError
from .model import Model

_KINDS = {
    "default": native.SCHEDULER_DEFAULT,
    "ddpm": native.SCHEDULER_DDPM,
    "ddim": native.SCHEDULER_DDIM,
}


def kind_number(kind: str) -> int:
    if kind not in _KINDS:
        raise InvalidArgument(f"scheduler is {kind!r}, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind]


class StepResult(NamedTuple):
    """What a scheduler step gives; both have the sample's shape."""

    previous: FloatArray
    """x_{t-1}"""
    x0: FloatArray
    """The predicted x_0, clipped as the scheduler says."""


class Scheduler(Owner):
    """From x_t and a prediction to x_{t-1}, exactly as in diffusers. Knows no network.

    kind: "default" (the model's own), "ddpm" or "ddim". steps: None for the default (50; DDPM: 1000). eta: DDIM's
    noise share in [0, 1]. Belongs to one thread at a time.
    Raises InvalidArgument, UnsupportedError.
    """

    timesteps: npt.NDArray[np.int32]
    """One per step, falling."""

    def __init__(self, model: Model, kind: str = "default", steps: Optional[int] = None, eta: float = 0.0) -> None:
        handle = Handle(lib.mcm_scheduler_free)
        number = convert.u32("steps", steps or 0)
        lib.mcm_scheduler_create(model._handle, kind_number(kind), number, eta, byref(handle))
        super().__init__(handle)
        count = c_uint32()
        lib.mcm_scheduler_get_timesteps(handle, None, 0, byref(count))
        self.timesteps = np.empty(count.value, np.int32)
        lib.mcm_scheduler_get_timesteps(handle, self.timesteps.ctypes.data, count, byref(count))

    def needs_noise(self, step: int) -> bool:
        """Whether step 0 .. len(timesteps) - 1 needs a normal draw of the sample's size."""
        result = c_int32()
        lib.mcm_scheduler_needs_noise(self._handle, convert.u32("step", step), byref(result))
        return bool(result.value)

    def step(
        self, step: int, sample: npt.ArrayLike, prediction: npt.ArrayLike, noise: Optional[npt.ArrayLike] = None
    ) -> StepResult:
        """Do step 0 .. len(timesteps) - 1.

        sample: x_t, (batch, ...). prediction: of the sample's size, or twice that if the model learns its variance.
        noise: a normal draw of the sample's shape if the step needs one.
        Raises InvalidArgument, SizeError.
        """
        x = convert.floats(sample)
        if x.ndim == 0:
            raise SizeError("sample is a single number, expected an array (batch, ...)")
        e = convert.floats(prediction)
        z = None if noise is None else convert.floats_of_shape("noise", noise, x.shape)
        result = StepResult(np.empty_like(x), np.empty_like(x))
        lib.mcm_scheduler_step(
            self._handle,
            convert.u32("step", step),
            len(x),
            x.ctypes.data,
            x.size,
            e.ctypes.data,
            e.size,
            convert.address(z),
            result.previous.ctypes.data,
            result.x0.ctypes.data,
        )
        return result

    def add_noise(self, timestep: int, x0: npt.ArrayLike, noise: npt.ArrayLike) -> FloatArray:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, for a timestep 0 .. num_train_timesteps - 1."""
        x = convert.floats(x0)
        z = convert.floats_of_shape("noise", noise, x.shape)
        noisy = np.empty_like(x)
        t = convert.u32("timestep", timestep)
        lib.mcm_scheduler_add_noise(self._handle, t, x.ctypes.data, z.ctypes.data, x.size, noisy.ctypes.data)
        return noisy
