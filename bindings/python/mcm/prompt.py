"""Texts for models that read them."""
from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref, c_char_p
from typing import Optional, Union

import numpy as np

from . import _convert as convert
from . import _native as native
from ._convert import ArrayLike, FloatArray
from ._native import Handle, Owner, lib
from .errors import SizeError
from .model import Model


class Prompt(Owner):
    """What a model's text encoders make of one or more texts. Immutable; it may outlive its model.

    Make it with `Prompt.encode`, or with `Prompt.from_arrays` from numbers of your own.
    """

    count: int
    """Texts: one for a whole batch, or one per image."""
    tokens: int
    """Of each text, start, end and padding included."""
    channels: int
    pooled_channels: int
    truncated: bool
    """Whether the end of a text was left out."""

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        info = native.PromptInfo()
        lib.mcm_prompt_get_info(handle, byref(info))
        self.count, self.tokens, self.channels = info.count, info.tokens, info.channels
        self.pooled_channels, self.truncated = info.pooled_channels, bool(info.truncated)

    @classmethod
    def encode(
        cls,
        model: Model,
        texts: Union[str, Sequence[str]],
        clip_skip: int = 0,
        weights: bool = False,
        chunks: bool = False,
    ) -> Prompt:
        """Read texts: one for a whole batch, or one per image.

        clip_skip: layers of the text encoders that are left out at their end, as in diffusers. weights: brackets give
        parts of a text weights, as in the Stable Diffusion web UI: (a), [a], (a:1.3). chunks: a text of more than 75
        tokens is read in chunks; else its end is left out, see `truncated`.
        Raises InvalidArgument, SizeError, UnsupportedError, OutOfMemory.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        array = (c_char_p * len(several))(*(convert.text("text", text) for text in several))
        options = native.PromptOptions(
            clip_skip=convert.u32("clip_skip", clip_skip), weights=weights, chunks=chunks
        )
        handle = Handle(lib.mcm_prompt_free)
        lib.mcm_prompt_encode(model._handle, array, len(several), byref(options), byref(handle))
        return cls(handle)

    @classmethod
    def from_arrays(cls, states: ArrayLike, pooled: Optional[ArrayLike] = None) -> Prompt:
        """diffusers' prompt_embeds, (count, tokens, channels), and pooled_prompt_embeds, (count, pooled_channels)."""
        s = convert.floats("states", states)
        p = None if pooled is None else convert.floats("pooled", pooled)
        if s.ndim != 3 or p is not None and (p.ndim != 2 or len(p) != len(s)):
            shapes = f"{s.shape}" if p is None else f"{s.shape} and {p.shape}"
            raise SizeError(f"shapes are {shapes}, expected (count, tokens, channels) and (count, pooled_channels)")
        handle = Handle(lib.mcm_prompt_free)
        lib.mcm_prompt_create(
            *s.shape,
            s.ctypes.data,
            s.size,
            0 if p is None else p.shape[1],
            convert.address(p),
            0 if p is None else p.size,
            byref(handle),
        )
        return cls(handle)

    @property
    def states(self) -> FloatArray:
        """(count, tokens, channels), a copy."""
        states = np.empty((self.count, self.tokens, self.channels), np.float32)
        lib.mcm_prompt_get_states(self._handle, states.ctypes.data, states.size)
        return states

    @property
    def pooled(self) -> FloatArray:
        """(count, pooled_channels), a copy."""
        pooled = np.empty((self.count, self.pooled_channels), np.float32)
        lib.mcm_prompt_get_pooled(self._handle, pooled.ctypes.data, pooled.size)
        return pooled
