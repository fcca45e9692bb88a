"""Modules in diffusers' pipelines and loops, as torch networks or through libmcm. Needs torch and diffusers.

    from diffusers import DDIMPipeline
    from mcm.diffusers import Modulator, attach

    pipeline = DDIMPipeline.from_pretrained("base")
    modulator = Modulator.open("module.mcm.safetensors")
    with attach(pipeline.unet, modulator, {"sketch": "boot.png"}):
        images = pipeline(num_inference_steps=25).images
"""
from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union
from weakref import WeakKeyDictionary

import numpy as np

from . import _convert as convert
from . import modulator as library
from ._convert import PathLike
from ._images import Images, ImagesLike
from ._safetensors import replacing
from .errors import IncompatibleError, InvalidArgument, SizeError, StateError
from .model import Model
from .training_options import choice

try:
    import torch
    from diffusers import UNet2DModel
    from safetensors import safe_open
    from safetensors.torch import save
except ImportError as missing:
    raise ImportError(f"mcm.diffusers needs torch and diffusers, and {missing.name} is not installed") from None

_DTYPES = {"f32": torch.float32, "f16": torch.float16}
_RESIZES: dict[str, dict[str, Any]] = {
    "nearest": dict(mode="nearest-exact"), "area": dict(mode="area"), "bilinear": dict(mode="bilinear", antialias=True)
}
_LUMINANCE = (19595, 38470, 7471)
"""Of red, green and blue, in 65536ths (ITU-R BT.601)."""


class Modulator(torch.nn.Module):
    """A module as a torch network: `net`, diffusers' UNet2DModel, and `config`, as docs/format.md has it.

    It may be moved to any device and float type, trained, and saved again. A new one changes nothing: the last
    convolution is zero.
    """

    net: Any
    config: dict[str, Any]
    modalities: tuple[library.Modality, ...]

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.modalities = tuple(map(_modality, config["modalities"]))
        self._has_flags = bool(config.get("presence_flags", True))
        channels = config["prediction_channels"]
        planes = sum(modality.channels + self._has_flags for modality in self.modalities)
        options = {name: value for name, value in config["net"].items() if not name.startswith("_")}
        net = UNet2DModel(**options, in_channels=2 * channels + planes, out_channels=2 * channels)
        torch.nn.init.zeros_(net.conv_out.weight)
        torch.nn.init.zeros_(net.conv_out.bias)
        self.net = net

    @classmethod
    def open(cls, path: PathLike) -> Modulator:
        """Open a module file, in float32. Raises what `mcm.Modulator.open` does, which checks the file."""
        library.Modulator.open(path).close()
        with safe_open(path, "pt") as file:
            modulator = cls(json.loads(file.metadata()["config"]))
            modulator.net.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})
        return modulator.eval()

    def save(self, path: PathLike, dtype: str = "f16") -> None:
        """Write a module file, at once or not at all. dtype: "f16" or "f32". Raises InvalidArgument, IOFailure, and
        StateError for a weight that is not finite or that "f16" does not hold.
        """
        kind = choice("dtype", dtype, _DTYPES)
        tensors = {name: tensor.detach().cpu().to(kind).contiguous() for name, tensor in self.net.state_dict().items()}
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise StateError(f"tensor '{name}' is not finite as {dtype}")
        metadata = {"format": "mcm", "version": "1", "config": json.dumps(self.config)}
        with replacing(path) as file:
            file.write(save(tensors, metadata))

    def forward(
        self,
        sample: torch.Tensor,
        prediction: torch.Tensor,
        timestep: Union[torch.Tensor, float],
        conditions: Mapping[str, ImagesLike],
        weight: float = 1.0,
    ) -> torch.Tensor:
        """e' = e + weight * (M(x, e, t, conditions) - e), of e's shape, type and device.

        sample, prediction: x and e, (batch, channels, height, width). timestep: a number, or one per image. conditions:
        by modality, one image for the whole batch or one per image, of any size, as for `mcm.Modulator.modulate`;
        modalities that are not named are absent.
        Raises SizeError, InvalidArgument, IncompatibleError.
        """
        channels = self.config["prediction_channels"]
        if sample.ndim != 4 or prediction.shape != sample.shape or sample.shape[1] != channels:
            shapes = f"{tuple(sample.shape)} and {tuple(prediction.shape)}"
            raise SizeError(f"sample and prediction have shapes {shapes}, expected (batch, {channels}, height, width)")
        batch, _, height, width = sample.shape
        multiple = 2 ** (len(self.net.config.block_out_channels) - 1)
        if not batch or not height or not width or height % multiple or width % multiple:
            raise SizeError(
                f"{batch} samples of {height} x {width}, expected at least one, of positive multiples of {multiple}"
            )
        steps = torch.as_tensor(timestep)
        if tuple(steps.shape) not in ((), (1,), (batch,)):
            raise SizeError(f"timestep has shape {tuple(steps.shape)}, expected () or ({batch},)")
        if not math.isfinite(weight) or not steps.isfinite().all():
            raise InvalidArgument(f"weight is {weight} and timestep {steps.tolist()}, expected finite numbers")
        first = next(self.net.parameters())
        x, e = (tensor.to(first.device, first.dtype) for tensor in (sample, prediction))
        t = steps.to(first.device).expand(batch)
        inputs = torch.cat([x, e, *self._planes(conditions, x)], 1)
        g, v = self.net(inputs, t, return_dict=False)[0].chunk(2, 1)
        modulated = e * (self.config.get("scale_offset", 1.0) + g) + v
        result: torch.Tensor = e + weight * (modulated - e)
        return result.to(prediction.device, prediction.dtype)

    def _planes(self, conditions: Mapping[str, ImagesLike], x: torch.Tensor) -> list[torch.Tensor]:
        """Each modality's planes, (batch, channels, height, width), then those that say which there are."""
        _check_names(self.modalities, conditions)
        planes, flags = [], []
        batch, _, height, width = x.shape
        for modality in self.modalities:
            if modality.name in conditions:
                given = planes_of(modality, conditions[modality.name], height, width).to(x.device, x.dtype)
                if len(given) not in (1, batch):
                    raise SizeError(f"'{modality.name}' has {len(given)} images, expected 1 or {batch}")
                planes.append(given.expand(batch, -1, -1, -1))
            else:
                planes.append(x.new_zeros(batch, modality.channels, height, width))
            flags.append(x.new_full((batch, 1, height, width), float(modality.name in conditions)))
        return planes + flags if self._has_flags else planes


def _modality(config: Mapping[str, Any]) -> library.Modality:
    channels = config["channels"]
    encoding = config.get("encoding", {1: "grey", 3: "rgb"}.get(channels, "one-hot"))
    resize = "nearest" if encoding == "one-hot" else config.get("resize", "area")
    return library.Modality(config["name"], channels, encoding, resize)


def planes_of(modality: library.Modality, images: ImagesLike, height: int, width: int) -> torch.Tensor:
    """What a module reads of images: float32, (images, channels, height, width), as libmcm encodes and resizes them.

    Raises InvalidArgument, SizeError, IncompatibleError; for paths also what `mcm.read_png` raises.
    """
    encoded = [_encode(modality, image) for image in Images(images).pixels]
    if not encoded:
        raise InvalidArgument(f"'{modality.name}' has no images, expected at least one")
    resized = [
        image if image.shape[2:] == (height, width)
        else torch.nn.functional.interpolate(image, (height, width), **_RESIZES[modality.resize])
        for image in encoded
    ]
    if modality.encoding != "one-hot":
        return torch.cat(resized)
    classes = torch.cat(resized)[:, 0].long()
    return torch.nn.functional.one_hot(classes, modality.channels).permute(0, 3, 1, 2).float()


def _encode(modality: library.Modality, image: Any) -> torch.Tensor:
    """One image, (1, planes, height, width); of classes their indices."""
    pixels = image if image.ndim == 3 else image[:, :, np.newaxis]
    if 0 in pixels.shape:
        raise SizeError(f"'{modality.name}' has an image of shape {image.shape}, expected pixels")
    if pixels.shape[2] not in (1, 3):
        raise SizeError(f"'{modality.name}' has {pixels.shape[2]} channels, expected 1 or 3")
    if modality.encoding == "one-hot":
        if pixels.shape[2] != 1:
            raise IncompatibleError(f"'{modality.name}' has 3 channels, expected one of class indices")
        if not np.isin(pixels, np.arange(modality.channels)).all():
            raise InvalidArgument(f"'{modality.name}' has other values than class indices 0 .. {modality.channels - 1}")
        levels = pixels.astype(np.float32)
    else:
        if modality.encoding == "grey" and pixels.shape[2] == 3:
            weighted = pixels.astype(np.float64) @ np.array(_LUMINANCE)[:, np.newaxis] / 65536
            pixels = np.floor(weighted + 0.5).astype(np.uint8) if pixels.dtype == np.uint8 else weighted
        levels = pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
        if not ((levels >= 0) & (levels <= 1)).all():
            raise InvalidArgument(f"'{modality.name}' has values outside 0 .. 1")
        if modality.encoding == "rgb":
            levels = np.broadcast_to(levels, (*levels.shape[:2], 3))
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))[np.newaxis]


def _through_library(
    modulator: library.Modulator,
    model: Model,
    sample: torch.Tensor,
    prediction: torch.Tensor,
    timestep: Union[torch.Tensor, float],
    conditions: Mapping[str, ImagesLike],
    weight: float,
) -> torch.Tensor:
    """`mcm.Modulator.modulate` on tensors. No gradient goes through it."""
    steps = convert.floats("timestep", timestep)
    modulated = modulator.modulate(model, sample, prediction, steps, conditions, weight)
    return torch.from_numpy(modulated).to(prediction.device, prediction.dtype)


class Attached:
    """A module in a UNet, as `attach` returns it, until `remove` or the end of a `with` block."""

    def __init__(self, unet: torch.nn.Module, modulate: _Modulate) -> None:
        self._unet: Optional[torch.nn.Module] = unet
        self._modulate = modulate

    def remove(self) -> None:
        """Give the UNet's own prediction back; may be called again."""
        if self._unet is not None:
            modules, hook = _attached[self._unet]
            modules.remove(self._modulate)
            if not modules:
                hook.remove()
                del _attached[self._unet]
            self._unet = None

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


_Modulate = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
"""Of a sample, a prediction and a timestep, the modulated prediction."""
_attached: WeakKeyDictionary[torch.nn.Module, tuple[list[_Modulate], torch.utils.hooks.RemovableHandle]] = (
    WeakKeyDictionary()
)
"""Of each UNet the modules that are attached to it, and the one hook that adds up what they correct."""


def _add(unet: torch.nn.Module, modulate: _Modulate) -> Attached:
    if unet not in _attached:
        modules: list[_Modulate] = []

        def hook(_: torch.nn.Module, arguments: Any, named: Any, output: Any) -> Any:
            sample, timestep = (
                named[name] if name in named else arguments[place] for place, name in enumerate(("sample", "timestep"))
            )
            e = output[0]
            sample = sample[:, : e.shape[1]]  # an inpainting model reads more
            modulated = [one(sample, e, timestep) for one in modules]
            result = modulated[0] if len(modulated) == 1 else e + sum(one - e for one in modulated)
            return (result, *output[1:]) if isinstance(output, tuple) else dataclasses.replace(output, sample=result)

        _attached[unet] = modules, unet.register_forward_hook(hook, with_kwargs=True)
    _attached[unet][0].append(modulate)
    return Attached(unet, modulate)


def attach(
    unet: torch.nn.Module,
    modulator: Union[Modulator, library.Modulator],
    conditions: Mapping[str, ImagesLike],
    weight: float = 1.0,
    model: Optional[Model] = None,
    guided: bool = False,
) -> Attached:
    """Let a module modulate what a diffusers UNet predicts, in any pipeline or loop, until what is returned is removed:
    by its `remove`, or at the end of a `with` block. What several correct is added, as in `mcm.Session`.

    modulator: a torch network, `Modulator`; or an `mcm.Modulator`, and the same base as `model`: libmcm does the work
    then. conditions, weight: as for `Modulator.forward`. guided: for classifier-free guidance, where pipelines predict
    without and with the prompt in one batch; the second half alone is modulated, as by `mcm.Session` with
    modulate="conditional". Without it both halves are modulated, before guidance.
    Raises InvalidArgument without a model that is needed, and IncompatibleError if it is another than the module's or a
    modality is unknown; the UNet's calls raise what the module does, and StateError if it is to be guided and the
    batch shows that it is not: its halves differ.
    """
    if not isinstance(modulator, (Modulator, library.Modulator)):
        raise TypeError(f"modulator is {type(modulator).__name__}, expected a Modulator of mcm.diffusers or of mcm")
    if isinstance(modulator, library.Modulator):
        if model is None:
            raise InvalidArgument("an mcm.Modulator is given without a model, expected the mcm.Model that it modulates")
        modulator.check(model)
    _check_names(modulator.modalities, conditions)

    def whole(sample: torch.Tensor, prediction: torch.Tensor, timestep: Any) -> torch.Tensor:
        if isinstance(modulator, library.Modulator) and model is not None:
            return _through_library(modulator, model, sample, prediction, timestep, conditions, weight)
        return modulator(sample, prediction, timestep, conditions, weight)  # type: ignore[operator, no-any-return]

    def half(sample: torch.Tensor, prediction: torch.Tensor, timestep: Any) -> torch.Tensor:
        if len(sample) % 2 or not torch.equal(*sample.chunk(2)):
            raise StateError(
                "guided, but the batch is not each sample without and with the prompt: is guidance_scale above 1?"
            )
        unled, led = prediction.chunk(2)
        is_list = torch.is_tensor(timestep) and timestep.ndim and len(timestep) == len(sample)
        return torch.cat([unled, whole(sample.chunk(2)[1], led, timestep.chunk(2)[1] if is_list else timestep)])

    return _add(unet, half if guided else whole)


def _check_names(modalities: Sequence[library.Modality], conditions: Mapping[str, ImagesLike]) -> None:
    names = [modality.name for modality in modalities]
    for name in convert.mapping("conditions", conditions):
        if name not in names:
            raise IncompatibleError(f"the module has no modality '{name}', expected one of {', '.join(names)}")
