from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
os.environ.setdefault("MCM_LIBRARY", str(REPOSITORY / "build" / "libmcm.so.1"))  # not an installed one

import latent_support  # noqa: E402
import mcm  # noqa: E402
import training_support  # noqa: E402

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
def ctrl_c() -> Iterator[None]:
    """Python's own handler of SIGINT, which a shell's background jobs and nohup begin without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture()
def stop_soon() -> Iterator[Callable[[], None]]:
    """Starts a timer for a signal whose handler raises Stop, wherever Python is then."""

    def stop(number: int, frame: object) -> None:
        raise training_support.Stop

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.05, signal.raise_signal, [signal.SIGUSR1])
    yield timer.start
    timer.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture()
def x() -> np.ndarray:
    """A batch of two samples."""
    return mcm.Generator(3).normal((2, 1, 28, 28))


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "examples.safetensors"
    mcm.write_dataset(path, training_support.IMAGES, **training_support.CONDITIONS)
    return path


@pytest.fixture(scope="session")
def dataset(dataset_path: Path) -> Iterator[mcm.Dataset]:
    with mcm.Dataset(dataset_path) as dataset:
        yield dataset


@pytest.fixture(scope="session")
def bank(model: mcm.Model, dataset: mcm.Dataset, dataset_path: Path) -> Iterator[mcm.Bank]:
    """Two predictions for each example."""
    path = dataset_path.with_name("bank")
    with mcm.Bank.record(model, dataset, path, 2 * len(dataset), seed=3, progress=False) as bank:
        yield bank


@pytest.fixture()
def trainer(model: mcm.Model) -> Iterator[mcm.Trainer]:
    with training_support.make(model) as trainer:
        yield trainer


@pytest.fixture(scope="session")
def sd() -> Iterator[mcm.Model]:
    """A tiny Stable Diffusion."""
    with mcm.Model.from_files(latent_support.model_files()) as model:
        yield model


@pytest.fixture(scope="session")
def sdxl() -> Iterator[mcm.Model]:
    with mcm.Model.from_files(latent_support.model_files(is_xl=True)) as model:
        yield model
