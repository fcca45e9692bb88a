from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
os.environ.setdefault("MCM_LIBRARY", str(REPOSITORY / "build" / "libmcm.so.1"))  # not an installed one

import mcm  # noqa: E402

FASHION = REPOSITORY / "examples" / "fashion"
CONDITIONS = FASHION / "conditions"
SKETCH = CONDITIONS / "07_sketch.png"
SEGMENTATION = CONDITIONS / "07_segmentation.png"


@pytest.fixture(scope="session")
def model() -> Iterator[mcm.Model]:
    with mcm.Model.open(FASHION / "base") as model:
        yield model


@pytest.fixture(scope="session")
def modulator() -> Iterator[mcm.Modulator]:
    with mcm.Modulator.open(FASHION / "module.mcm.safetensors") as modulator:
        yield modulator


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """The base model's files."""
    base = FASHION / "base"
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


@pytest.fixture()
def x() -> np.ndarray:
    """A batch of two samples."""
    return mcm.Generator(3).normal((2, 1, 28, 28))
