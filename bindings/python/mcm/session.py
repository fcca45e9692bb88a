"""Sampling: step by step, or in one call."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import byref, c_uint32, c_uint64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, TypedDict, Union

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike, ByteArray, FloatArray
from ._images import Conditions, Images, ImagesLike
from ._native import Handle, Owner, lib
from ._progress import Bar
from .controlnet import ControlNet
from .errors import InvalidArgument, StateError
from .model import Memory, Model, memory_from
from .modulator import Modulator
from .prompt import Prompt
from .scheduler import OptionsLike, kind_number, options_text

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

SeedsLike = Union[int, "np.integer[Any]", Sequence[int], "npt.NDArray[np.integer[Any]]"]
PromptLike = Union[str, Sequence[str], Prompt]
ProgressLike = Union[bool, Callable[["Step"], object], None]
"""None, True or False, for a bar; or a function of each step that is done."""
MODULATE = {"guided": native.MODULATE_GUIDED, "conditional": native.MODULATE_CONDITIONAL}


def _seed_list(seeds: SeedsLike) -> list[int]:
    values = [seeds] if isinstance(seeds, (int, np.integer)) else seeds
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidArgument(f"seed is {seeds!r}, expected an integer, or one per image")
    return [convert.u64("seed", seed) for seed in values]


class SessionOptions(TypedDict, total=False):
    """Options of a `Session`, for `generate`; each may be left out."""

    width: Optional[int]
    height: Optional[int]
    scheduler: str
    steps: Optional[int]
    eta: float
    scheduler_options: Optional[OptionsLike]
    strength: float
    guidance_scale: Optional[float]
    guidance_rescale: float
    modulate: str
    guidance_passes: int
    tile_above: int


def attach_options(weight: float, begin: float, end: float, other_base: bool = False) -> native.AttachOptions:
    return native.AttachOptions(
        weight=convert.real("weight", weight), begin=convert.real("begin", begin), end=convert.real("end", end),
        other_base=other_base,
    )


class Session(Owner):
    """One run of sampling over a batch. Iterating it does the steps that are left:

        with Session(model, steps=25, scheduler="ddim") as session:
            session.attach(modulator, conditions={"sketch": "boot.png"})
            session.seed(7)
            for step in session:
                show(step.preview())
            images = session.result()

    width, height: of the images; None: the model's own. scheduler, steps, eta, scheduler_options: as for
    `Scheduler`; by default the model's own.
    strength: of a run that begins from an image, the share of the steps that are taken.
    guidance_scale: s in e = e_u + s (e_c - e_u); None: that of diffusers' pipeline; 1: no guidance. guidance_rescale:
    the share of e_c's standard deviation that e gets back. modulate: "guided" or "conditional", the prediction on which
    modules act. guidance_passes: 1: e_c and e_u are predicted together, 2: one after the other, 0: as memory suggests.
    tile_above: the autoencoder works in tiles on images of more pixels than a square of this size; 0: 768.
    Belongs to one thread at a time. Raises InvalidArgument, UnsupportedError, OutOfMemory.
    """

    shape: tuple[int, int, int, int]
    """(batch, channels, height, width) of the samples."""
    image_shape: tuple[int, int, int]
    """(height, width, channels) of an image."""
    steps: int
    """Of the whole run."""

    def __init__(
        self,
        model: Model,
        batch: int = 1,
        width: Optional[int] = None,
        height: Optional[int] = None,
        scheduler: str = "default",
        steps: Optional[int] = None,
        eta: float = 0.0,
        scheduler_options: Optional[OptionsLike] = None,
        strength: float = 1.0,
        guidance_scale: Optional[float] = None,
        guidance_rescale: float = 0.0,
        modulate: str = "guided",
        guidance_passes: int = 0,
        tile_above: int = 0,
    ) -> None:
        if modulate not in MODULATE:
            raise InvalidArgument(f"modulate is {modulate!r}, expected {' or '.join(map(repr, MODULATE))}")
        if convert.u32("guidance_passes", guidance_passes) > 2:
            raise InvalidArgument(f"guidance_passes is {guidance_passes!r}, expected 0, 1 or 2")
        if guidance_scale is not None and not convert.real("guidance_scale", guidance_scale) >= 0:
            raise InvalidArgument(f"guidance_scale is {guidance_scale}, expected a number >= 0")
        options = native.SessionOptions(
            batch=convert.u32("batch", batch),
            width=convert.positive("width", width),
            height=convert.positive("height", height),
            scheduler=kind_number(scheduler),
            steps=convert.positive("steps", steps),
            eta=convert.real("eta", eta),
            scheduler_options=options_text(scheduler_options),
            strength=convert.real("strength", strength),
            # To the library 0 is the default, and all up to 1 are the same.
            guidance_scale=0.0 if guidance_scale is None else max(guidance_scale, 1.0),
            guidance_rescale=convert.real("guidance_rescale", guidance_rescale),
            modulate=MODULATE[modulate],
            guidance_passes=guidance_passes,
            tile_above=convert.u32("tile_above", tile_above),
        )
        handle = Handle(lib.mcm_session_free)
        lib.mcm_session_create(Model._handle_of("model", model), byref(options), byref(handle))
        super().__init__(handle)
        state = self._state()
        self.shape = (state.batch, state.channels, state.height, state.width)
        self.image_shape = (state.image_height, state.image_width, state.image_channels)
        self._model = model
        self._runs = 0
        self.steps = state.steps

    def _state(self) -> native.SessionState:
        state = native.SessionState()
        lib.mcm_session_get_state(self._handle, byref(state))
        return state

    @property
    def memory(self) -> Memory:
        """What the session holds at the moment, beside its model and modules: `weights` and `cache` are 0."""
        struct = native.Memory()
        lib.mcm_session_get_memory(self._handle, byref(struct))
        return memory_from(struct)

    @property
    def steps_done(self) -> int:
        return int(self._state().step)

    @property
    def timestep(self) -> Optional[int]:
        """Of the next step; None when all are done."""
        timestep = self._state().timestep
        return timestep if timestep >= 0 else None

    @property
    def done(self) -> bool:
        return self.steps_done == self.steps

    def seed(self, seeds: SeedsLike) -> None:
        """Start a run, or start over: draw x_T and go to step 0. Conditions and modulators stay.

        An int: one generator draws for the whole batch. A list with one int per image: one generator each, so that
        an image is the same alone and in any batch. Both as diffusers' pipelines with torch.Generator.
        """
        values = _seed_list(seeds)
        lib.mcm_session_seed(self._handle, (c_uint64 * len(values))(*values), len(values))
        self._runs += 1

    def set_prompt(self, prompt: PromptLike, negative: Optional[PromptLike] = None) -> None:
        """What a model that reads a text is told, and with guidance what it is led away from: a text, one per image, or
        a `Prompt`. negative None: the empty text, or zeros in a Stable Diffusion XL that was trained so. Allowed
        between steps. Raises SizeError, IncompatibleError, StateError, UnsupportedError.
        """
        def encoded(given: PromptLike) -> Prompt:
            return given if isinstance(given, Prompt) else Prompt.encode(self._model, given)

        other = None if negative is None else encoded(negative)
        lib.mcm_session_set_prompt(
            self._handle, encoded(prompt)._handle, None if other is None else other._handle
        )

    def set_image(self, images: Optional[ImagesLike]) -> None:
        """An image to begin from, for the next `seed`: one for the batch or one per image, of the session's image size,
        RGB or grey; None: noise alone. Raises InvalidArgument, SizeError.
        """
        views = Images([] if images is None else images)
        lib.mcm_session_set_image(self._handle, views, len(views.pixels))

    def set_mask(self, masks: Optional[ImagesLike]) -> None:
        """What is to be painted in that image, for the next `seed`: 1 (or 255); what stays: 0. None: all of it. Raises
        InvalidArgument, SizeError.
        """
        views = Images([] if masks is None else masks)
        lib.mcm_session_set_mask(self._handle, views, len(views.pixels))

    def set_time_ids(self, time_ids: ArrayLike, negative: Optional[ArrayLike] = None) -> None:
        """Stable Diffusion XL's original height and width, crop's top and left, target height and width; of its refiner
        the first four and an aesthetic score: (batch, time_id_count). negative None: the same.
        """
        shape = (self.shape[0], self._model.info.time_id_count)
        positive = convert.floats_of_shape("time_ids", time_ids, shape)
        other = positive if negative is None else convert.floats_of_shape("negative", negative, shape)
        lib.mcm_session_set_time_ids(self._handle, positive.ctypes.data, other.ctypes.data, positive.size)

    def set_class_input(self, values: ArrayLike) -> None:
        """Class input of a model that takes one: (batch, class_input_size). Raises SizeError, InvalidArgument."""
        array = convert.floats("class_input", values)
        lib.mcm_session_set_class_input(self._handle, array.ctypes.data, array.size)

    def attach(
        self,
        modulator: Modulator,
        weight: float = 1.0,
        begin: float = 0.0,
        end: float = 1.0,
        conditions: Optional[Mapping[str, ImagesLike]] = None,
        other_base: bool = False,
    ) -> Attachment:
        """Attach a module, with `weight`, active while begin <= step / steps < end. Several add up: give modules that
        were trained each for itself weights whose sum is 1.

        conditions: as for `Attachment.set_condition`, by modality. other_base: accept a module that was trained on
        a base with another fingerprint. Allowed between steps. Raises IncompatibleError, InvalidArgument.
        """
        options = attach_options(weight, begin, end, other_base)
        number = c_uint32()
        module = Modulator._handle_of("modulator", modulator)
        lib.mcm_session_attach(self._handle, module, byref(options), byref(number))
        attachment = Attachment(self, number.value, weight, (begin, end))
        try:
            for name, images in convert.mapping("conditions", conditions or {}).items():
                attachment.set_condition(name, images)
        except BaseException:
            attachment.detach()
            raise
        return attachment

    def attach_controlnet(
        self,
        controlnet: ControlNet,
        images: ImagesLike,
        weight: float = 1.0,
        begin: float = 0.0,
        end: float = 1.0,
        guess: bool = False,
    ) -> Attachment:
        """Attach a ControlNet, with `weight` (diffusers' controlnet_conditioning_scale), active while begin <= step /
        steps < end. Several add up.

        images: RGB or grey, of the session's image size, one for the batch or one per image. guess: diffusers'
        guess_mode.
        Raises IncompatibleError, InvalidArgument, SizeError.
        """
        options = attach_options(weight, begin, end)
        number = c_uint32()
        views, network = Images(images), ControlNet._handle_of("controlnet", controlnet)
        lib.mcm_session_attach_controlnet(
            self._handle, network, views, len(views.pixels), guess, byref(options), byref(number)
        )
        return Attachment(self, number.value, weight, (begin, end))

    def step(self) -> Step:
        """Do one step. Raises StateError before seeding and past the end."""
        with self._handle.lock:
            before = self._state()
            lib.mcm_session_step(self._handle)
            return Step(self, before.step + 1, before.steps, before.timestep)

    def __iter__(self) -> Iterator[Step]:
        while not self.done:
            yield self.step()

    def run(self, progress: ProgressLike = None) -> None:
        """Do the steps that are left. progress: None for a tqdm bar if tqdm is installed and stderr is a terminal, True
        or False to decide; or a function that is called with each `Step` and that stops the run by raising anything,
        `Cancelled` for instance.

        Ctrl-C raises KeyboardInterrupt when the step that is running is done. However a run ends, the session stays at
        that step and can go on.
        """
        # Steps from here instead of mcm_session_run, where an interrupt on entry to the callback would be lost.
        shown = False if callable(progress) else progress
        with Bar(shown, " steps", self.steps_done, self.steps) as bar:
            for step in self:
                bar.update(step.step)
                if callable(progress):
                    progress(step)

    @property
    def x(self) -> FloatArray:
        """A copy of x_t; assigning to it replaces x_t (the same shape, finite values)."""
        sample = np.empty(self.shape, np.float32)
        lib.mcm_session_get_sample(self._handle, sample.ctypes.data, sample.size)
        return sample

    @x.setter
    def x(self, sample: ArrayLike) -> None:
        array = convert.floats_of_shape("x", sample, self.shape)
        lib.mcm_session_set_sample(self._handle, array.ctypes.data, array.size)

    @property
    def x0(self) -> FloatArray:
        """A copy of the x_0 that the last step predicted. Raises StateError before the first step."""
        x0 = np.empty(self.shape, np.float32)
        lib.mcm_session_get_x0(self._handle, x0.ctypes.data, x0.size)
        return x0

    def _decode(self, what: int) -> ByteArray:
        height, width, channels = self.image_shape
        if what == native.DECODE_PREVIEW:
            height, width = self.shape[2:]
        images = np.empty((self.shape[0], height, width, channels), np.uint8)
        for index, pixels in enumerate(images):
            lib.mcm_session_decode(self._handle, what, index, pixels.ctypes.data, pixels.size)
        return images[..., 0] if channels == 1 else images

    def preview(self) -> ByteArray:
        """`x0` as uint8 images at once, (batch, height, width[, channels]): itself, or a linear map of its latents, at
        their size."""
        return self._decode(native.DECODE_PREVIEW)

    def decode_x0(self) -> ByteArray:
        """`x0` as uint8 images, (batch, height, width) or (batch, height, width, channels)."""
        return self._decode(native.DECODE_X0)

    def result(self) -> ByteArray:
        """The uint8 images, (batch, height, width) or (batch, height, width, channels).

        Raises StateError if steps are left.
        """
        if not self.done:
            raise StateError(f"{self.steps_done} of {self.steps} steps are done, expected all")
        return self._decode(native.DECODE_SAMPLE)


class Step:
    """A step that was just done: number `step` of `steps`, at `timestep`.

    Reads the session when asked to, and raises StateError once the session has moved on.
    """

    def __init__(self, session: Session, step: int, steps: int, timestep: int) -> None:
        self._session = session
        self._run = session._runs
        self.step = step
        self.steps = steps
        self.timestep = timestep

    def __repr__(self) -> str:
        return f"Step(step={self.step}, steps={self.steps}, timestep={self.timestep})"

    def _current(self) -> Session:
        if self._run != self._session._runs:
            raise StateError(f"step {self.step} has passed, the session was seeded again")
        done = self._session.steps_done
        if done != self.step:
            raise StateError(f"step {self.step} has passed, {done} are done")
        return self._session

    @property
    def x(self) -> FloatArray:
        """As `Session.x`."""
        return self._current().x

    @property
    def x0(self) -> FloatArray:
        """As `Session.x0`."""
        return self._current().x0

    def preview(self) -> ByteArray:
        """As `Session.preview`."""
        return self._current().preview()


class Attachment:
    """A module or ControlNet in a session, as `Session.attach` returns it. Everything may be changed between steps."""

    def __init__(self, session: Session, number: int, weight: float, window: tuple[float, float]) -> None:
        self._session = session
        self._number: Optional[int] = number
        self._weight = float(weight)
        self._window = window

    @property
    def _id(self) -> int:
        if self._number is None:
            raise StateError("the module is detached")
        return self._number

    @property
    def weight(self) -> float:
        """w in e' = e + sum_i w_i (M_i(x, e, t, y_i) - e). 0 equals detached, bit for bit."""
        return self._weight

    @weight.setter
    def weight(self, weight: float) -> None:
        lib.mcm_session_set_weight(self._session._handle, self._id, convert.real("weight", weight))
        self._weight = float(weight)

    @property
    def window(self) -> tuple[float, float]:
        """(begin, end): active while begin <= step / steps < end."""
        return self._window

    @window.setter
    def window(self, window: tuple[float, float]) -> None:
        begin, end = (convert.real("window", share) for share in window)
        lib.mcm_session_set_window(self._session._handle, self._id, begin, end)
        self._window = (begin, end)

    def set_condition(self, modality: str, images: ImagesLike) -> None:
        """Set, or replace, what one modality follows; images of any size, which are copied.

        An array (height, width[, channels]) or the path of a PNG: the same for the whole batch. A list of those, or
        an array (batch, height, width[, channels]): one per image. uint8 is 0 .. 255, float and bool are [0, 1];
        for a one-hot modality the value is the class index. Grey and RGB images stand for each other: a grey modality
        is given an RGB image's luminance, as Pillow's convert("L") has it.
        Raises InvalidArgument, SizeError, IncompatibleError; for paths also IOFailure, FormatError.
        """
        if isinstance(images, (str, os.PathLike)):
            name = convert.text("modality", modality)
            lib.mcm_session_set_condition_png(self._session._handle, self._id, name, convert.path(images))
        else:
            lib.mcm_session_set_condition(self._session._handle, self._id, Conditions({modality: images}))

    def clear(self, modality: Optional[str] = None) -> None:
        """Make a modality, or all of them, absent again."""
        name = None if modality is None else convert.text("modality", modality)
        lib.mcm_session_clear_condition(self._session._handle, self._id, name)

    def detach(self) -> None:
        """Remove the module from the session."""
        lib.mcm_session_detach(self._session._handle, self._id)
        self._number = None


@dataclass(frozen=True)
class Conditioning:
    """A module with its conditions, for `generate`. Fields as the arguments of `Session.attach`."""

    modulator: Modulator
    conditions: Mapping[str, ImagesLike]
    weight: float = 1.0
    begin: float = 0.0
    end: float = 1.0
    other_base: bool = False


def generate(
    model: Model,
    *conditionings: Conditioning,
    prompt: Optional[PromptLike] = None,
    negative: Optional[PromptLike] = None,
    image: Optional[ImagesLike] = None,
    mask: Optional[ImagesLike] = None,
    seeds: SeedsLike = 0,
    batch: Optional[int] = None,
    class_input: Optional[ArrayLike] = None,
    progress: ProgressLike = None,
    **options: Unpack[SessionOptions],
) -> ByteArray:
    """Sample a batch in one call: uint8, (batch, height, width) or (batch, height, width, channels).

    batch: by default the number of seeds. prompt: by default the empty text, if the model reads one. Other arguments as
    for `Session`, `Session.set_prompt`, `Session.set_image`, `Session.set_mask`, `Session.seed`,
    `Session.set_class_input` and `Session.run`; errors too.
    """
    for one in conditionings:
        if not isinstance(one, Conditioning):
            raise TypeError(f"generate() is given {type(one).__name__}, expected a Conditioning")
    seeds = _seed_list(seeds)
    size = len(seeds) if batch is None else batch
    with Session(model, size, **options) as session:
        if class_input is not None:
            session.set_class_input(class_input)
        if prompt is not None or negative is not None or model.info.text_channels:
            session.set_prompt("" if prompt is None else prompt, negative)
        for conditioning in conditionings:
            session.attach(**vars(conditioning))
        session.set_image(image)
        session.set_mask(mask)
        session.seed(seeds)
        session.run(progress)
        return session.result()
