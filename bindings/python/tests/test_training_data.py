"""Data sets, and banks of predictions for them."""
from __future__ import annotations

import os
import signal

import mcm
import numpy as np
import pytest

from conftest import FASHION
from training_support import COUNT, IMAGES, Stop, make, safetensors_parts


def test_dataset(dataset):
    assert len(dataset) == COUNT and dataset.shape == (COUNT, 1, 8, 8)
    assert dataset.modalities == ("labels", "sketch")
    assert len(dataset.fingerprint) == 16 and int(dataset.fingerprint, 16)


def test_dataset_file(tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.int64).reshape(2, 4, 4, 3)
    depth = np.linspace(0, 1, 32).reshape(2, 2, 8)  # float64, of another size
    path = tmp_path / "ä.safetensors"
    mcm.write_dataset(path, images[:, :, ::-1], depth=depth, path=np.zeros((2, 1, 1), bool))
    tensors, data = safetensors_parts(path)
    assert tensors["images"]["dtype"] == "U8" and tensors["images"]["shape"] == [2, 4, 4, 3]
    assert tensors["depth"]["dtype"] == tensors["path"]["dtype"] == "F32" and tensors["depth"]["shape"] == [2, 2, 8, 1]
    stored = {name: data[slice(*tensors[name]["data_offsets"])] for name in tensors}
    assert stored["images"] == images[:, :, ::-1].astype(np.uint8).tobytes()
    assert stored["depth"] == depth.astype("<f4").tobytes()
    assert os.listdir(tmp_path) == [path.name]
    with mcm.Dataset(str(path)) as dataset:
        assert dataset.shape == (2, 3, 4, 4) and dataset.modalities == ("depth", "path")
        mcm.write_dataset(path, samples=-depth[:, None])  # replaces the file; the data set keeps the old one
        assert dataset.shape == (2, 3, 4, 4)
    with mcm.Dataset(path) as dataset:
        assert dataset.shape == (2, 1, 2, 8) and dataset.modalities == ()


def test_dataset_behind_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    mcm.write_dataset(tmp_path / "folder" / "d", IMAGES)
    (tmp_path / "link").symlink_to("folder/d")
    mcm.write_dataset(tmp_path / "link", IMAGES[:2])
    assert (tmp_path / "link").is_symlink() and len(mcm.Dataset(tmp_path / "folder" / "d")) == 2
    assert os.listdir(tmp_path / "folder") == ["d"]


def test_dataset_larger_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("mcm._safetensors._CHUNK", 100)
    read_only = np.arange(3 * 40, dtype=np.float16).reshape(3, 5, 8)
    read_only.flags.writeable = False
    mcm.write_dataset(tmp_path / "d", read_only)
    assert safetensors_parts(tmp_path / "d")[1] == read_only.astype("<f4").tobytes()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(), mcm.InvalidArgument, "neither"),
        (dict(images=IMAGES, samples=IMAGES[:, None]), mcm.InvalidArgument, "both"),
        (dict(images=IMAGES[0]), mcm.SizeError, r"'images' has shape \(8, 8\)"),
        (dict(images=IMAGES[:0]), mcm.SizeError, "images"),
        (dict(images=np.zeros((2, 8, 8, 2))), mcm.SizeError, "1 or 3"),
        (dict(samples=IMAGES), mcm.SizeError, "channels, height, width"),
        (dict(images=IMAGES, sketch=IMAGES[1:]), mcm.SizeError, "'sketch' holds 23 examples, expected 24"),
        (dict(images=IMAGES.astype(int) + 1), mcm.InvalidArgument, "'images' has values .* 256"),
        (dict(images=IMAGES, depth=np.where(IMAGES == IMAGES[5, 0, 0], np.nan, 1)), mcm.InvalidArgument, "'depth', ex"),
        (dict(samples=np.full((1, 1, 2, 2), 1e39)), mcm.InvalidArgument, "not finite"),
        (dict(images=np.full((1, 2, 2), "x")), mcm.InvalidArgument, "dtype"),
        (dict(images=np.zeros((1, 2, 2), complex)), mcm.InvalidArgument, "dtype"),
        ({"images": IMAGES, "__metadata__": IMAGES}, mcm.InvalidArgument, "__metadata__"),
        ({"images": IMAGES, "a\0b": IMAGES}, mcm.InvalidArgument, "zero character"),
    ],
)
def test_write_dataset_errors(tmp_path, arguments, error, message):
    (tmp_path / "d").write_text("old")
    with pytest.raises(error, match=message):
        mcm.write_dataset(tmp_path / "d", **arguments)
    assert (tmp_path / "d").read_text() == "old" and os.listdir(tmp_path) == ["d"]


def test_file_errors(tmp_path, dataset_path):
    for call in (
        lambda: mcm.write_dataset(tmp_path / "no" / "folder", IMAGES),
        lambda: mcm.write_dataset(tmp_path, IMAGES),
        lambda: mcm.Dataset(tmp_path / "nowhere"),
        lambda: mcm.Bank(tmp_path / "nowhere"),
    ):
        with pytest.raises(mcm.IOFailure, match=tmp_path.name):
            call()
    with pytest.raises(mcm.FormatError, match="neither"):
        mcm.Dataset(FASHION / "module.mcm.safetensors")
    with pytest.raises(mcm.FormatError, match="no bank"):
        mcm.Bank(dataset_path)


def test_bank(model, dataset, bank, dataset_path):
    assert len(bank) == 2 * COUNT and bank.shape == (2 * COUNT, 1, 8, 8)
    assert bank.base_fingerprint == model.info.fingerprint and bank.image_fingerprint == dataset.fingerprint
    other = dataset_path.with_name("other")
    done = []
    mcm.Bank.record(model, dataset, other, 2 * COUNT, 3, batch=20, progress=lambda *a: done.append(a)).close()
    assert done == [(20, 48), (40, 48), (48, 48)]
    assert other.read_bytes() == dataset_path.with_name("bank").read_bytes()


def test_bank_errors(model, dataset, tmp_path):
    record = lambda **options: mcm.Bank.record(model, dataset, tmp_path / "b", **{"count": 4, **options})
    for options in (
        dict(count=0), dict(count=-1), dict(batch=0), dict(seed=-1), dict(timesteps=(0, 0)), dict(timesteps=(5, 5)),
        dict(timesteps=(-1, 5)), dict(timesteps=(0, 1001)), dict(progress="yes"),
    ):
        with pytest.raises(mcm.InvalidArgument):
            record(**options)
    assert os.listdir(tmp_path) == []
    with record(timesteps=(10, 11)) as bank:
        assert len(bank) == 4


@pytest.mark.parametrize("error", [Stop, mcm.Cancelled, KeyboardInterrupt])
def test_bank_is_resumed(model, dataset, tmp_path, error):
    path, seen = tmp_path / "bank", []

    def progress(done, count):
        seen.append(done)
        if len(seen) == 2:
            raise error("enough")

    record = lambda **options: mcm.Bank.record(model, dataset, path, **{"count": 20, "batch": 4, **options})
    with pytest.raises(error, match="enough"):
        record(progress=progress)
    assert seen == [4, 8] and os.listdir(tmp_path) == ["bank.part"]
    with pytest.raises(mcm.StateError, match="same options"):
        record(seed=1)
    seen = [0, 0]
    record(progress=progress).close()
    assert seen[2:] == [12, 16, 20] and os.listdir(tmp_path) == ["bank"]
    mcm.Bank.record(model, dataset, tmp_path / "whole", 20).close()
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_recording(model, dataset, tmp_path):
    def progress(done, count):
        if done == 8:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        mcm.Bank.record(model, dataset, tmp_path / "bank", 20, batch=4, progress=progress)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    done = []
    mcm.Bank.record(model, dataset, tmp_path / "bank", 20, batch=4, progress=lambda *a: done.append(a[0])).close()
    assert done == [12, 16, 20]


def test_handler_of_a_signal_raises_while_recording(model, dataset, tmp_path, stop_soon):
    def progress(done, count):
        if done == 256:
            stop_soon()

    with pytest.raises(Stop):
        mcm.Bank.record(model, dataset, tmp_path / "bank", 10**6, batch=256, progress=progress)
    assert os.listdir(tmp_path) == ["bank.part"]


def test_datasets_and_banks(model, dataset, bank):
    with make(model, seed=4) as by_step, make(model, seed=4) as by_parts, make(bank, seed=4) as by_bank:
        by_step.step_dataset(dataset, 6)
        by_parts.accumulate_dataset(dataset, 6)
        by_parts.apply()
        assert np.array_equal(by_step.parameters, by_parts.parameters)
        report = by_bank.step_dataset(dataset, 6, bank)
        assert report.base_seconds < report.module_seconds and report.loss > 0
        by_step.step_dataset(dataset, 6, bank)
        with pytest.raises(mcm.StateError, match="has no model"):
            by_bank.step_dataset(dataset, 6)
        with pytest.raises(mcm.InvalidArgument, match="0 examples"):
            by_bank.step_dataset(dataset, 0, bank)
        with pytest.raises(mcm.InvalidArgument):
            by_step.step_dataset(dataset, -1)


def test_bank_of_other_images(model, bank, tmp_path):
    mcm.write_dataset(tmp_path / "d", IMAGES[::-1], sketch=IMAGES)
    with make(bank) as trainer, pytest.raises(mcm.IncompatibleError, match="other images"):
        trainer.step_dataset(mcm.Dataset(tmp_path / "d"), 4, bank)
    mcm.write_dataset(tmp_path / "d", IMAGES, sketches=IMAGES)
    with make(bank) as trainer, pytest.raises(mcm.IncompatibleError, match='"sketches", expected some'):
        trainer.step_dataset(mcm.Dataset(tmp_path / "d"), 4, bank)
