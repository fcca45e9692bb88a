"""Normal random numbers as torch draws them."""
from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from typing import Union

import numpy as np

from . import _convert as convert
from ._convert import FloatArray
from ._native import Handle, Owner, lib


class Generator(Owner):
    """A stream of normal numbers, equal to torch.randn on the CPU with torch.Generator().manual_seed(seed).

    Only the low 32 bits of the seed matter, as in torch. Belongs to one thread at a time.
    """

    def __init__(self, seed: int) -> None:
        handle = Handle(lib.mcm_rng_free)
        lib.mcm_rng_create(convert.u64("seed", seed), byref(handle))
        super().__init__(handle)

    def normal(self, shape: Union[int, Sequence[int]]) -> FloatArray:
        """One draw: float32 of any shape. Two draws of 8 differ from one of 16, as in torch."""
        values = np.empty(shape, np.float32)
        lib.mcm_rng_normal(self._handle, values.ctypes.data, values.size)
        return values
