"""The arithmetic between predictions."""
from __future__ import annotations

import json
from ctypes import byref, c_int32, c_uint32
from typing import Any, Mapping, NamedTuple, Optional

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike, FloatArray
from ._native import Handle, Owner, lib
from .errors import InvalidArgument, SizeError
from .model import Model

_KINDS = {
    "default": native.SCHEDULER_DEFAULT,
    "ddpm": native.SCHEDULER_DDPM,
    "ddim": native.SCHEDULER_DDIM,
    "pndm": native.SCHEDULER_PNDM,
    "lms": native.SCHEDULER_LMS,
    "euler": native.SCHEDULER_EULER,
    "euler_ancestral": native.SCHEDULER_EULER_ANCESTRAL,
    "heun": native.SCHEDULER_HEUN,
    "dpm_solver_multistep": native.SCHEDULER_DPM_SOLVER_MULTISTEP,
    "unipc": native.SCHEDULER_UNIPC,
    "lcm": native.SCHEDULER_LCM,
}

OptionsLike = Mapping[str, Any]
"""Options by diffusers' names, e.g. {"use_karras_sigmas": True}; they go before those of the model."""


def kind_number(kind: str) -> int:
    if kind not in _KINDS:
        raise InvalidArgument(f"scheduler is {kind!r}, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind]


def options_text(options: Optional[OptionsLike]) -> Optional[bytes]:
    return None if options is None else convert.text("scheduler options", json.dumps(dict(options)))


class StepResult(NamedTuple):
    """What a scheduler step gives; both have the sample's shape."""

    previous: FloatArray
    """x_{t-1}"""
    x0: FloatArray
    """The predicted x_0, clipped as the scheduler says."""


class Scheduler(Owner):
    """From x_t and a prediction to x_{t-1}, exactly as in diffusers. Knows no network.

    kind: "default" (the model's own), "ddpm", "ddim", "pndm", "lms", "euler", "euler_ancestral", "heun",
    "dpm_solver_multistep", "unipc" or "lcm". steps: None for the default (50; DDPM: 1000; LCM: 4); a step is one
    evaluation of the network, so that Heun and PNDM have more than were asked for. eta: DDIM's noise share in [0, 1].
    options: the scheduler's, by diffusers' names, before those of the model. Immutable; any number of threads may use
    it, each run with a history of its own. Raises InvalidArgument, UnsupportedError, FormatError.
    """

    timesteps: npt.NDArray[np.int32]
    """One per step, rounded."""
    model_timesteps: FloatArray
    """One per step: what the network and modules are told."""
    init_noise_sigma: float
    """x_T is this times a normal draw."""

    def __init__(
        self,
        model: Model,
        kind: str = "default",
        steps: Optional[int] = None,
        eta: float = 0.0,
        options: Optional[OptionsLike] = None,
    ) -> None:
        base = Model._handle_of("model", model)
        handle = Handle(lib.mcm_scheduler_free)
        number = convert.positive("steps", steps)
        share, text = convert.real("eta", eta), options_text(options)
        lib.mcm_scheduler_create_with_options(base, kind_number(kind), number, share, text, byref(handle))
        super().__init__(handle)
        info = native.SchedulerInfo()
        lib.mcm_scheduler_get_info(handle, byref(info))
        self.init_noise_sigma = info.init_noise_sigma
        self._history_count = info.history_count
        count = c_uint32()
        lib.mcm_scheduler_get_timesteps(handle, None, 0, byref(count))
        self.timesteps = np.empty(count.value, np.int32)
        lib.mcm_scheduler_get_timesteps(handle, self.timesteps.ctypes.data, count, byref(count))
        self.model_timesteps = np.array([self._step_info(i).timestep for i in range(count.value)], np.float32)

    def _step_info(self, step: int) -> native.StepInfo:
        info = native.StepInfo()
        lib.mcm_scheduler_get_step(self._handle, convert.u32("step", step), byref(info))
        return info

    def scale_model_input(self, step: int, sample: ArrayLike) -> FloatArray:
        """What the network and modules read at a step, for x_t."""
        return convert.floats("sample", sample) * np.float32(self._step_info(step).input_scale)

    def history(self, sample: ArrayLike) -> Optional[FloatArray]:
        """What a run on samples of this shape keeps from step to step, for `step`; None if it keeps nothing."""
        shape = convert.floats("sample", sample).shape
        return np.zeros((self._history_count, *shape), np.float32) if self._history_count else None

    def needs_noise(self, step: int) -> bool:
        """Whether step 0 .. len(timesteps) - 1 needs a normal draw of the sample's size."""
        result = c_int32()
        lib.mcm_scheduler_needs_noise(self._handle, convert.u32("step", step), byref(result))
        return bool(result.value)

    def step(
        self,
        step: int,
        sample: ArrayLike,
        prediction: ArrayLike,
        noise: Optional[ArrayLike] = None,
        history: Optional[FloatArray] = None,
    ) -> StepResult:
        """Do step 0 .. len(timesteps) - 1.

        sample: x_t, (batch, ...). prediction: of the sample's size, or twice that if the model learns its variance.
        noise: a normal draw of the sample's shape if the step needs one. history: the run's, from `history`, which
        the step changes; a step may be repeated until the next is taken.
        Raises InvalidArgument, SizeError.
        """
        x = convert.floats("sample", sample)
        if x.ndim == 0:
            raise SizeError("sample is a single number, expected an array (batch, ...)")
        e = convert.floats("prediction", prediction)
        z = None if noise is None else convert.floats_of_shape("noise", noise, x.shape)
        shape = (self._history_count, *x.shape)
        kept = None if history is None else convert.output("history", history, shape, x, e, z)
        result = StepResult(np.empty_like(x), np.empty_like(x))
        lib.mcm_scheduler_step_with_history(
            self._handle,
            convert.u32("step", step),
            len(x),
            x.ctypes.data,
            x.size,
            e.ctypes.data,
            e.size,
            convert.address(z),
            convert.address(kept),
            0 if kept is None else kept.size,
            result.previous.ctypes.data,
            result.x0.ctypes.data,
        )
        return result

    def add_noise(self, timestep: int, x0: ArrayLike, noise: ArrayLike) -> FloatArray:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, for a timestep 0 .. num_train_timesteps - 1; for schedulers
        that keep samples as x_0 + sigma noise (LMS, Euler, Heun), x_0 + sigma_t noise."""
        x = convert.floats("x0", x0)
        z = convert.floats_of_shape("noise", noise, x.shape)
        noisy = np.empty_like(x)
        t = convert.u32("timestep", timestep)
        lib.mcm_scheduler_add_noise(self._handle, t, x.ctypes.data, z.ctypes.data, x.size, noisy.ctypes.data)
        return noisy
