"""ControlNets."""
from __future__ import annotations

from ctypes import byref
from typing import Optional

from . import _convert as convert
from ._convert import PathLike
from ._native import Handle, Owner, lib
from .model import model_options


class ControlNet(Owner):
    """diffusers' ControlNetModel, for `Session.attach_controlnet`. Immutable; any number of threads may use it."""

    @classmethod
    def open(
        cls, folder: PathLike, threads: int = 0, variant: Optional[str] = None, int8_weights: bool = False
    ) -> ControlNet:
        """Open a folder with config.json and safetensors weights. Arguments and errors as for `Model.open`."""
        options = model_options(threads=threads, variant=variant, int8_weights=int8_weights)
        handle = Handle(lib.mcm_controlnet_free)
        lib.mcm_controlnet_open(convert.path(folder), byref(options), byref(handle))
        return cls(handle)
