"""Data sets, banks, trainers and training runs."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError
from types import ModuleType, SimpleNamespace

import mcm
import numpy as np
import pytest

from conftest import FASHION, REPOSITORY

CONFIG = {
    "net": {
        "sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2,
    },
    "prediction_channels": 1,
    "modalities": [{"name": "sketch", "channels": 1}, {"name": "labels", "channels": 4, "encoding": "one-hot"}],
}
COUNT = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8), np.uint8)
CONDITIONS = {"sketch": IMAGES > 127, "labels": IMAGES // 64}


def make(base, config=CONFIG, **options):
    return mcm.Trainer(base, config, **{"warmup_steps": 0, "learning_rate": 1e-2, **options})


def batch(first, end):
    return dict(images=IMAGES[first:end], conditions={name: c[first:end] for name, c in CONDITIONS.items()})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("training") / "examples.safetensors"
    mcm.write_dataset(path, IMAGES, **CONDITIONS)
    return path


@pytest.fixture(scope="module")
def dataset(path):
    with mcm.Dataset(path) as dataset:
        yield dataset


@pytest.fixture(scope="module")
def bank(model, dataset, path):
    with mcm.Bank.record(model, dataset, path.with_name("bank"), count=2 * COUNT, seed=3, progress=False) as bank:
        yield bank


@pytest.fixture()
def trainer(model):
    with make(model) as trainer:
        yield trainer


def parameters(base, *batches, **options):
    with make(base, **options) as trainer:
        for one in batches:
            trainer.step(**one)
        return trainer.parameters.copy()


def header(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


# Data sets


def test_dataset(dataset):
    assert len(dataset) == COUNT and dataset.shape == (COUNT, 1, 8, 8)
    assert dataset.modalities == ("labels", "sketch")
    assert len(dataset.fingerprint) == 16 and int(dataset.fingerprint, 16)


def test_dataset_file(tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.int64).reshape(2, 4, 4, 3)
    depth = np.linspace(0, 1, 32).reshape(2, 2, 8)  # float64, of another size
    path = tmp_path / "ä.safetensors"
    mcm.write_dataset(path, images[:, :, ::-1], depth=depth, path=np.zeros((2, 1, 1), bool))
    tensors, data = header(path)
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


def test_dataset_larger_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("mcm._safetensors._CHUNK", 100)
    read_only = np.arange(3 * 40, dtype=np.float16).reshape(3, 5, 8)
    read_only.flags.writeable = False
    mcm.write_dataset(tmp_path / "d", read_only)
    assert header(tmp_path / "d")[1] == read_only.astype("<f4").tobytes()


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


def test_file_errors(tmp_path, path):
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
        mcm.Bank(path)


# Banks


def test_bank(model, dataset, bank, path):
    assert len(bank) == 2 * COUNT and bank.shape == (2 * COUNT, 1, 8, 8)
    assert bank.base_fingerprint == model.info.fingerprint and bank.image_fingerprint == dataset.fingerprint
    other = path.with_name("other")
    done = []
    mcm.Bank.record(model, dataset, other, 2 * COUNT, 3, batch=20, progress=lambda *a: done.append(a)).close()
    assert done == [(20, 48), (40, 48), (48, 48)]
    assert other.read_bytes() == path.with_name("bank").read_bytes()


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


class Stop(Exception):
    pass


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


# Trainers


def test_step(model, trainer):
    assert trainer.state == mcm.TrainerState(2, 0, 0, 0, 0, len(trainer.parameters), len(trainer.named_parameters))
    assert [modality.name for modality in trainer.modalities] == ["sketch", "labels"]
    before = trainer.parameters.copy()
    report = trainer.step(**batch(0, 4))
    assert report.loss == pytest.approx(report.base_loss, abs=1e-6)  # a module begins as one that changes nothing
    assert report.step == 1 and report.examples == 4 and report.learning_rate == pytest.approx(1e-2)
    assert report.gradient_norm > 0 and report.weighted_loss > 0 and report.module_seconds > 0
    assert not np.array_equal(trainer.parameters, before)
    assert trainer.step(**batch(4, 6)).examples == 6
    with pytest.raises(FrozenInstanceError):
        report.loss = 0


def test_it_learns(model, tmp_path):
    square = np.zeros((16, 8, 8), np.uint8)
    for k in range(16):
        square[k, k // 4 : k // 4 + 4, k % 4 : k % 4 + 4] = 255
    mcm.write_dataset(tmp_path / "d", square, sketch=square)
    with make(model, weighting="uniform", dropout=0, first_timestep=400, end_timestep=600) as trainer:
        history = mcm.train(trainer, mcm.Dataset(tmp_path / "d"), batch=16, steps=60)
    assert history.loss[-10:].mean() < 0.8 * history.base_loss[-10:].mean()


def test_determinism(model):
    options = dict(seed=5, dropout=[0.2, 0.9], weighting="min_snr", timesteps="weighted", ema_decay=0)
    once = parameters(model, batch(0, 4), batch(4, 8), **options)
    with mcm.Model.open(FASHION / "base", threads=1) as single:
        assert np.array_equal(parameters(single, batch(0, 4), batch(4, 8), **options), once)
    assert not np.array_equal(parameters(model, batch(0, 4), batch(4, 8), **{**options, "seed": 6}), once)


def test_forms_of_a_batch(model):
    """The same examples as uint8, float, read-only, non-contiguous, lists, other dtypes, channels, and samples."""
    expected = parameters(model, batch(0, 4))
    images, sketch, labels = IMAGES[:4], CONDITIONS["sketch"][:4], CONDITIONS["labels"][:4]
    read_only = images.copy()
    read_only.flags.writeable = False
    wide = np.repeat(images, 2, axis=2)[:, :, ::2]
    assert not wide.flags.c_contiguous
    for form in (images.astype(np.int64), read_only, wide, list(images), images[..., None], np.asfortranarray(images)):
        one = dict(images=form, conditions={"sketch": sketch.astype(np.float64), "labels": list(labels[..., None])})
        assert np.array_equal(parameters(model, one), expected)
    samples = model.encode(images)
    reversed_twice = np.ascontiguousarray(samples[..., ::-1])[..., ::-1]
    for form in (samples, samples.astype(np.float64), np.asfortranarray(samples), reversed_twice):
        assert np.array_equal(parameters(model, dict(batch(0, 4), images=None, samples=form)), expected)


def test_accumulate(model, trainer):
    trainer.accumulate(**batch(0, 2))
    assert trainer.state.pending == 2 and np.abs(trainer.gradients).max() > 0
    first = trainer.gradients.copy()
    trainer.accumulate(**batch(2, 6))
    assert trainer.state.pending == 6 and not np.array_equal(trainer.gradients, first)
    with pytest.raises(mcm.StateError, match="6 examples wait"):
        trainer.step(**batch(0, 2))
    report = trainer.apply()
    assert report.step == 1 and report.loss == 0 and trainer.state.pending == 0
    assert not trainer.gradients.any()
    whole = parameters(model, batch(0, 6))
    assert np.allclose(trainer.parameters, whole, rtol=1e-4, atol=1e-5)
    trainer.accumulate(**batch(0, 2))
    trainer.clear()
    assert trainer.state.pending == 0 and not trainer.gradients.any()
    with pytest.raises(mcm.StateError, match="no gradient"):
        trainer.apply()


def test_gradients_averaged_over_two_ranks(model):
    # AdamW's first steps are the sign of each gradient, whatever its size: with a larger epsilon they are its value.
    options = dict(epsilon=1.0, seed=2)
    ranks = [make(model, rank=rank, world=2, **options) for rank in range(2)]
    with make(model, **options) as single:
        for step in range(3):
            start = 8 * step
            for rank, trainer in enumerate(ranks):
                trainer.accumulate(**batch(start + 4 * rank, start + 4 * rank + 4))
            mean = (ranks[0].gradients + ranks[1].gradients) / 2
            for trainer in ranks:
                trainer.gradients = mean
                trainer.apply()
            single.step(**batch(start, start + 8))
        assert np.array_equal(ranks[0].parameters, ranks[1].parameters)
        difference = np.linalg.norm(ranks[0].parameters - single.parameters) / np.linalg.norm(single.parameters)
        assert difference < 1e-6
        assert [trainer.state.examples for trainer in (*ranks, single)] == [24, 24, 24]


def test_datasets_and_banks(model, dataset, bank):
    with make(model, seed=4) as by_step, make(model, seed=4) as by_parts, make(bank, seed=4) as by_bank:
        by_step.step_dataset(dataset, 6)
        by_parts.accumulate_dataset(dataset, 6)
        by_parts.apply()
        assert np.array_equal(by_step.parameters, by_parts.parameters)
        report = by_bank.step_dataset(dataset, 6, bank)
        assert report.base_seconds < 1e-3 and report.loss > 0
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


def test_evaluate(model, bank, dataset):
    with make(model) as trainer:
        before, state = trainer.parameters.copy(), trainer.state
        report = trainer.evaluate(**batch(0, 8))
        assert 0 < report.loss < 1 and report.loss == pytest.approx(report.base_loss, abs=1e-6) and report.step == 0
        again = trainer.evaluate_dataset(dataset, 8)
        assert (again.loss, again.weighted_loss) == (report.loss, report.weighted_loss)
        assert trainer.evaluate_dataset(dataset, 12, bank, averaged=False).loss > 0
        assert np.array_equal(trainer.parameters, before) and trainer.state == state
        with pytest.raises(mcm.InvalidArgument, match="expected 1 to"):
            trainer.evaluate_dataset(dataset, len(dataset) + 1)


def test_ema(model, tmp_path):
    with make(model, ema_decay=0.9) as trainer:
        trainer.step(**batch(0, 4))
        assert trainer.ema.shape == trainer.parameters.shape and not np.array_equal(trainer.ema, trainer.parameters)
        trainer.ema = trainer.parameters
        for averaged in (False, True):
            trainer.write_modulator(tmp_path / str(averaged), averaged, dtype="f32")
        assert (tmp_path / "True").read_bytes() == (tmp_path / "False").read_bytes()
    with make(model, ema_decay=0) as trainer:
        assert trainer.ema.size == 0


def test_buffers(model, trainer):
    view = trainer.parameters
    assert view.dtype == np.float32 and view.flags.writeable and view.shape == (trainer.state.parameter_count,)
    view[0] = 0.25
    assert trainer.parameters[0] == 0.25
    trainer.accumulate(**batch(0, 2))
    trainer.gradients *= 0.5
    total = trainer.gradients.copy()
    trainer.gradients = total[::-1].astype(np.float64)
    assert np.array_equal(trainer.gradients, total[::-1])
    for wrong in (total[:-1], 0.0):
        with pytest.raises(mcm.SizeError, match="gradients has shape"):
            trainer.gradients = wrong
    with pytest.raises(mcm.SizeError, match="parameters has shape"):
        trainer.parameters = total[None]
    trainer.gradients[3] = np.nan
    with pytest.raises(mcm.StateError, match="not finite in step 1"):
        trainer.apply()
    trainer.close()
    view += 1  # still the trainer's memory, which lives on
    assert view[0] == 1.25


def test_named_buffers(trainer, tmp_path):
    trainer.write_modulator(tmp_path / "m", averaged=False, dtype="f32")
    tensors, data = header(tmp_path / "m")
    views = trainer.named_parameters
    assert set(views) == set(tensors) - {"__metadata__"} and sum(view.size for view in views.values()) > 1000
    for name, view in views.items():
        assert list(view.shape) == tensors[name]["shape"] and np.shares_memory(view, trainer.parameters)
        assert view.tobytes() == data[slice(*tensors[name]["data_offsets"])]
    trainer.accumulate(**batch(0, 2))
    gradients = trainer.named_gradients
    assert np.array_equal(np.concatenate([gradient.ravel() for gradient in gradients.values()]), trainer.gradients)
    gradients["conv_in.weight"][...] = 0
    assert trainer.gradients.any() and not trainer.named_gradients["conv_in.weight"].any()


def test_resume(model, bank, dataset, tmp_path):
    for base, given in ((model, None), (bank, bank)):
        with make(base, seed=9, total_steps=20) as whole:
            whole.step_dataset(dataset, 4, given)
            whole.accumulate_dataset(dataset, 4, given)
            whole.save(tmp_path / "t")
            with mcm.Trainer.resume(base, tmp_path / "t", threads=1) as resumed:
                assert resumed.state == whole.state and resumed.state.pending == 4
                for trainer in (whole, resumed):
                    trainer.apply()
                    mcm.train(trainer, dataset, given, batch=4, steps=5)
                assert resumed.state.step == 5 and np.array_equal(resumed.parameters, whole.parameters)
    with make(model) as saved, make(model, rank=1, world=2) as second:
        saved.save(tmp_path / "t")
        with mcm.Trainer.resume(model, tmp_path / "t", rank=1, world=2) as resumed:
            with pytest.raises(mcm.StateError, match="one of 2"):
                resumed.step_dataset(dataset, 4)
            for trainer in (second, resumed):
                trainer.accumulate_dataset(dataset, 4)
                trainer.apply()
            assert resumed.state.examples == 8 and np.array_equal(resumed.parameters, second.parameters)
    with pytest.raises(mcm.FormatError, match="no trainer's file"):
        mcm.Trainer.resume(model, FASHION / "module.mcm.safetensors")
    with pytest.raises(mcm.IOFailure, match="nowhere"):
        mcm.Trainer.resume(model, tmp_path / "nowhere")


def test_modulator(model, trainer, dataset, tmp_path):
    mcm.train(trainer, dataset, batch=8, steps=3)
    x = mcm.Generator(1).normal((1, 1, 8, 8))
    e = model.predict(x, 500)
    modulate = lambda modulator: modulator.modulate(model, x, e, 500, {"sketch": CONDITIONS["sketch"][0]})
    with trainer.modulator(averaged=False) as now, trainer.modulator() as averaged:
        assert not np.array_equal(modulate(now), e) and not np.array_equal(modulate(now), modulate(averaged))
        trainer.write_modulator(tmp_path / "m", averaged=False, dtype="f32")
        with mcm.Modulator.open(tmp_path / "m") as read:
            read.check(model)
            assert np.array_equal(modulate(read), modulate(now)) and read.modalities == trainer.modalities
        size = (tmp_path / "m").stat().st_size
        trainer.write_modulator(tmp_path / "m")
        assert (tmp_path / "m").stat().st_size < 0.7 * size
        with mcm.Modulator.open(tmp_path / "m") as read:
            assert np.allclose(modulate(read), modulate(averaged), atol=1e-2)
    with pytest.raises(mcm.InvalidArgument, match="dtype is 'f64', expected one of f32, f16"):
        trainer.write_modulator(tmp_path / "m", dtype="f64")
    trainer.write_modulator(tmp_path / "m", averaged=False, dtype="f32")
    with mcm.Trainer.from_module(model, tmp_path / "m", seed=1) as other:
        assert np.array_equal(other.parameters, trainer.parameters) and other.state.step == 0
    trainer.parameters[:] = 1e6
    with pytest.raises(mcm.StateError, match="F16"):
        trainer.write_modulator(tmp_path / "m", averaged=False)


def test_losses(model, dataset):
    with make(model, dropout=[0.0, 1.0], first_timestep=700, end_timestep=800) as trainer:
        reports = [trainer.step_dataset(dataset, 4) for _ in range(3)]
        mean = np.mean([report.loss for report in reports])
        table = trainer.losses_by_timestep
        assert [losses.count for losses in table] == [0] * 7 + [12, 0, 0]
        assert table[7].loss == pytest.approx(mean, rel=1e-5) and table[7].base_loss > 0 and table[0].loss == 0
        modalities = trainer.losses_by_modality
        assert list(modalities) == ["sketch", "labels"]
        assert (modalities["sketch"].given.count, modalities["sketch"].withheld.count) == (12, 0)
        assert (modalities["labels"].given.count, modalities["labels"].withheld.count) == (0, 12)
        trainer.reset_losses()
        assert trainer.losses_by_timestep == (mcm.Losses(0, 0.0, 0.0),) * 10


def test_configs(model):
    with make(model, json.dumps(CONFIG)) as trainer:
        assert np.array_equal(trainer.parameters, parameters(model))
    for config, error in (
        ("{", mcm.FormatError), ("[]", mcm.FormatError), ({}, mcm.FormatError), ("{}\0", mcm.InvalidArgument),
        ({**CONFIG, "prediction_channels": 3}, mcm.IncompatibleError),
        ({**CONFIG, "net": {**CONFIG["net"], "dropout": "x"}}, mcm.MCMError), ({"net": object()}, TypeError),
    ):
        with pytest.raises(error) as caught:
            make(model, config)
        assert str(caught.value)
    with pytest.raises(TypeError, match="expected Model or Bank"):
        make("model")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(learning_rate=-1), "learning_rate is -1"),
        (dict(learning_rate=np.nan), "learning_rate is nan"),
        (dict(beta1=1.0), "beta1"),
        (dict(noise_weight_low=2, noise_weight_high=1), "noise_weight_low"),
        (dict(weighting="snr"), "weighting is 'snr', expected one of uniform, min_snr, noise"),
        (dict(timesteps="some"), "timesteps"),
        (dict(first_timestep=5, end_timestep=5), "first_timestep < end_timestep"),
        (dict(end_timestep=1001), "0 to 1001"),
        (dict(rank=1), "rank is 1 of 1"),
        (dict(dropout=[0.1] * 3), "dropout_count is 3"),
        (dict(dropout=[]), "dropout"),
        (dict(dropout=1.5), "dropout is 1.5"),
        (dict(seed=-1), "seed"),
        (dict(warmup_steps=2**32), "warmup_steps"),
        (dict(total_steps=2**41), "total_steps"),
    ],
)
def test_option_errors(model, options, message):
    with pytest.raises(mcm.InvalidArgument, match=message):
        make(model, **options)


def test_weightings(model):
    shares, high = {}, {}
    for weighting in ("uniform", "min_snr", "noise"):
        for timesteps in ("uniform", "weighted"):
            with make(model, weighting=weighting, timesteps=timesteps, noise_weight_high=100, seed=1) as trainer:
                report = trainer.step(**batch(0, COUNT))
                shares[weighting, timesteps] = report.weighted_loss / report.loss
                high[weighting, timesteps] = sum(losses.count for losses in trainer.losses_by_timestep[5:])
        assert shares[weighting, "weighted"] == pytest.approx(1)  # drawn instead of weighted
    assert shares["uniform", "uniform"] == pytest.approx(1)
    # The loss of epsilon is in the low noise, of which "noise" makes least; it draws high noise most.
    assert shares["noise", "uniform"] < 0.5 < shares["min_snr", "uniform"] < 0.99
    assert high["uniform", "weighted"] < high["min_snr", "weighted"] < high["noise", "weighted"]


def test_unknown_option(model, tmp_path):
    with pytest.raises(TypeError, match="unknown option 'lr', expected one of warmup_steps"):
        make(model, lr=1)
    with pytest.raises(TypeError):
        make(model, learning_rate="fast")
    with pytest.raises(TypeError, match="'lr'"):
        mcm.Trainer.from_module(model, FASHION / "module.mcm.safetensors", lr=1)


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (dict(images=None), mcm.InvalidArgument, "neither"),
        (dict(samples=np.zeros((2, 1, 8, 8))), mcm.InvalidArgument, "both"),
        (dict(images=None, samples=np.zeros((2, 3, 8, 8))), mcm.SizeError, r"expected 128"),
        (dict(images=None, samples=np.zeros((2, 8, 8))), mcm.SizeError, "batch, channels"),
        (dict(images=None, samples=np.full((2, 1, 8, 8), np.inf)), mcm.InvalidArgument, "finite"),
        (dict(images=None, samples=np.zeros((2, 1, 7, 8))), mcm.SizeError, "multiples of 4"),
        (dict(images=[]), mcm.SizeError, "count is 0"),
        (dict(images=[IMAGES[0], IMAGES[1, :4]]), mcm.SizeError, "8 x 4"),
        (dict(images=np.zeros((2, 8, 8, 3), np.uint8)), mcm.SizeError, "3 channels"),
        (dict(images=IMAGES[:2].astype(int) - 1000), mcm.InvalidArgument, "expected 0 .. 255"),
        (dict(images=np.full((2, 8, 8), np.nan)), mcm.InvalidArgument, "nan"),
        (dict(conditions={"depth": IMAGES[:2]}), mcm.IncompatibleError, 'no modality "depth"'),
        (dict(conditions={"sketch": IMAGES[:1]}), mcm.SizeError, "one per example, 2"),
        (dict(conditions={"sketch": IMAGES[:2].astype(float)}), mcm.InvalidArgument, "sketch"),
        (dict(conditions={"labels": IMAGES[:2] | 128}), mcm.IncompatibleError, "labels"),
    ],
)
def test_batch_errors(trainer, wrong, error, message):
    before, state = trainer.parameters.copy(), trainer.state
    for call in (trainer.step, trainer.accumulate):
        with pytest.raises(error, match=message):
            call(**{**batch(0, 2), **wrong})
    assert trainer.state == state and np.array_equal(trainer.parameters, before) and not trainer.gradients.any()


def test_use_after_close(model, dataset, bank):
    trainer = make(model)
    trainer.close()
    trainer.close()
    for call in (
        lambda: trainer.step(**batch(0, 2)), lambda: trainer.accumulate(**batch(0, 2)), trainer.apply, trainer.clear,
        lambda: trainer.step_dataset(dataset, 2), lambda: trainer.parameters, lambda: trainer.gradients,
        lambda: trainer.state, lambda: trainer.losses_by_timestep, lambda: trainer.losses_by_modality,
        lambda: trainer.save("x"), trainer.modulator, lambda: trainer.write_modulator("x"),
        lambda: mcm.train(trainer, dataset, steps=1),
    ):
        with pytest.raises(mcm.StateError, match="Trainer is closed"):
            call()
    closed, no_bank, no_model = (kind.__new__(kind) for kind in (mcm.Dataset, mcm.Bank, mcm.Model))
    for thing in (closed, no_bank, no_model):
        thing.close()
    with make(model) as trainer:
        with pytest.raises(mcm.StateError, match="Dataset is closed"):
            trainer.step_dataset(closed, 2)
        with pytest.raises(mcm.StateError, match="Bank is closed"):
            mcm.train(trainer, dataset, no_bank, steps=1)
    with pytest.raises(mcm.StateError, match="Model is closed"):
        make(no_model)


def test_trainer_outlives_its_model(dataset):
    with mcm.Model.open(FASHION / "base") as model:
        trainer = make(model)
    assert trainer.step_dataset(dataset, 2).step == 1


# Runs


def test_train(model, dataset, tmp_path):
    with make(model, total_steps=4) as whole, make(model, total_steps=4) as parts:
        reports = []
        history = mcm.train(whole, dataset, batch=3, accumulate=2, save=tmp_path / "t", callback=reports.append)
        for _ in range(4):
            for _ in range(2):
                parts.accumulate_dataset(dataset, 3)
            parts.apply()
        assert np.array_equal(whole.parameters, parts.parameters)
        assert len(history) == 4 and list(history.step) == [1, 2, 3, 4]
        for name in ("loss", "weighted_loss", "base_loss", "learning_rate", "gradient_norm"):
            values = getattr(history, name)
            assert values.dtype == np.float64 and list(values) == [getattr(report, name) for report in reports]
        with mcm.Trainer.resume(model, tmp_path / "t") as saved:
            assert saved.state == whole.state
            assert len(mcm.train(saved, dataset)) == 0  # at its end
            with pytest.raises(mcm.InvalidArgument, match="at most total_steps, 4"):
                mcm.train(saved, dataset, batch=2, steps=6)
        with mcm.Trainer.resume(model, tmp_path / "t", total_steps=6, learning_rate=1e-3) as longer:
            assert list(mcm.train(longer, dataset, batch=2, save=tmp_path / "longer").step) == [5, 6]
            (tmp_path / "longer").unlink()
            assert len(mcm.train(longer, dataset, save=tmp_path / "longer")) == 0  # at its end: is saved
            assert mcm.Trainer.resume(model, tmp_path / "longer").state == longer.state


def test_train_saves(model, trainer, dataset, tmp_path):
    path, steps = tmp_path / "t", []

    def callback(report):
        steps.append(mcm.Trainer.resume(model, path).state.step if path.exists() else 0)

    mcm.train(trainer, dataset, batch=2, steps=7, save=path, save_every=3, callback=callback)
    assert steps == [0, 0, 0, 3, 3, 3, 6] and mcm.Trainer.resume(model, path).state.step == 7
    with pytest.raises(mcm.IOFailure, match="folder"):
        mcm.train(trainer, dataset, batch=2, steps=9, save=tmp_path / "no" / "folder", save_every=1)
    assert trainer.state.step == 8


def test_train_errors(trainer, dataset):
    for options in (
        dict(), dict(steps=0), dict(steps=-1), dict(steps=1, batch=0), dict(steps=1, accumulate=0),
        dict(steps=1, save_every=-1), dict(steps=1, progress="yes"), dict(steps=1, save="a\0b"),
    ):
        with pytest.raises(mcm.InvalidArgument):
            mcm.train(trainer, dataset, **options)
    trainer.clear()
    trainer.accumulate_dataset(dataset, 2)
    with pytest.raises(mcm.StateError, match="2 examples wait"):
        mcm.train(trainer, dataset, steps=3)


def test_loss_that_is_not_finite(model, trainer, dataset, tmp_path):
    path = tmp_path / "t"

    def callback(report):
        if report.step == 2:
            trainer.parameters[:] = 1e30

    with pytest.raises(mcm.StateError, match="in step 3"):
        mcm.train(trainer, dataset, batch=4, steps=4, save=path, save_every=1, callback=callback)
    assert trainer.state.step == 2 and trainer.state.examples == 8 and trainer.state.pending == 0


@pytest.mark.parametrize("error", [Stop, mcm.Cancelled, KeyboardInterrupt])
def test_callback_stops_training(model, dataset, tmp_path, error):
    def callback(report):
        if report.step == 2:
            raise error("enough")

    with make(model) as whole, make(model) as stopped:
        mcm.train(whole, dataset, batch=4, steps=4)
        with pytest.raises(error, match="enough"):
            mcm.train(stopped, dataset, batch=4, steps=4, save=tmp_path / "t", callback=callback)
        assert stopped.state.step == 2
        with mcm.Trainer.resume(model, tmp_path / "t") as resumed:
            assert resumed.state.step == 2
            for trainer in (stopped, resumed):
                mcm.train(trainer, dataset, batch=4, steps=4)
                assert np.array_equal(trainer.parameters, whole.parameters)


def test_signal_stops_training(model, trainer, dataset, tmp_path):
    finished = []

    def callback(report):
        if report.step == 2:
            signal.raise_signal(signal.SIGINT)  # held back: the callback goes on
        finished.append(report.step)

    with pytest.raises(KeyboardInterrupt):
        mcm.train(trainer, dataset, batch=2, steps=9, save=tmp_path / "t", callback=callback)
    assert finished == [1, 2] and mcm.Trainer.resume(model, tmp_path / "t").state.step == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_signal_does_not_wait(trainer, dataset):
    def callback(report):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        mcm.train(trainer, dataset, batch=2, steps=9, callback=callback)
    assert trainer.state.step == 1


def test_signal_within_a_step(model, trainer, dataset, tmp_path):
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        mcm.train(trainer, dataset, batch=64, accumulate=2, steps=10**6, save=tmp_path / "t")
    timer.join()
    state = trainer.state
    assert state.step > 0 and state.pending == 0 and state.examples == 128 * state.step
    assert mcm.Trainer.resume(model, tmp_path / "t").state == state


def test_training_in_another_thread(model, dataset):
    steps = []
    with make(model) as trainer:
        thread = threading.Thread(target=lambda: steps.extend(mcm.train(trainer, dataset, batch=2, steps=3).step))
        thread.start()
        thread.join()
    assert steps == [1, 2, 3]


class Terminal:
    """A tqdm of our own, and a stderr that is a terminal."""

    def __init__(self, monkeypatch):
        self.log = log = []

        class Bar:
            def __init__(self, initial, total, unit):
                self.n = initial
                log.append((initial, total, unit.strip()))

            def set_postfix(self, values, refresh):
                log.append(tuple(values))

            def update(self, n):
                self.n += n
                log.append(self.n)

            def close(self):
                log.append("closed")

        module = ModuleType("tqdm")
        module.tqdm = Bar
        monkeypatch.setitem(sys.modules, "tqdm", module)
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True, write=len, flush=int))


def test_progress_bar(model, trainer, dataset, tmp_path, monkeypatch):
    terminal = Terminal(monkeypatch)
    mcm.train(trainer, dataset, batch=2, steps=2)
    expected = [(0, 2, "steps"), ("loss", "base"), 1, ("loss", "base"), 2, "closed"]
    assert terminal.log == expected
    mcm.train(trainer, dataset, batch=2, steps=3, progress=False)
    assert terminal.log == expected
    del terminal.log[:]
    mcm.Bank.record(model, dataset, tmp_path / "b", 20).close()
    assert terminal.log == [(0, 20, "records"), (), 16, (), 20, "closed"]
    del terminal.log[:]
    with make(model, total_steps=5) as other:
        other.step_dataset(dataset, 2)
        other.save(tmp_path / "t")
    with mcm.Trainer.resume(model, tmp_path / "t") as resumed, pytest.raises(Stop):
        mcm.train(resumed, dataset, batch=2, callback=fail)
    assert terminal.log == [(1, 5, "steps"), ("loss", "base"), 2, "closed"]
    monkeypatch.setattr(sys, "stderr", None)
    mcm.train(trainer, dataset, batch=2, steps=4)


def fail(report):
    raise Stop


def test_progress_without_tqdm(trainer, dataset, monkeypatch):
    Terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)  # import fails
    assert len(mcm.train(trainer, dataset, batch=2, steps=1)) == 1
    with pytest.raises(ImportError, match="pip install tqdm"):
        mcm.train(trainer, dataset, batch=2, steps=2, progress=True)
    assert trainer.state.step == 1


def test_plot_without_matplotlib(trainer, dataset, monkeypatch):
    history = mcm.train(trainer, dataset, batch=2, steps=2)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        history.plot()


def test_plot(trainer, dataset, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    history = mcm.train(trainer, dataset, batch=2, steps=5)
    history.plot(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    axes = Figure().subplots()
    assert history.plot(axes) is axes and len(axes.lines) == 2 and list(axes.lines[0].get_xdata()) == [1, 2, 3, 4, 5]
    assert len(history.plot().lines) == 2


# Examples


def run_example(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "bindings" / "python")}
    command = [sys.executable, str(REPOSITORY / "examples" / "python" / script), *arguments]
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_example(tmp_path):
    run_example("train.py", "--steps", "2", "--batch", "4", "--out", str(tmp_path))
    assert mcm.read_png(tmp_path / "samples.png").shape == (3 * 28, 8 * 28)
    mcm.Modulator.open(tmp_path / "module.mcm.safetensors").close()


def test_distributed_example():
    assert "2 processes" in run_example("train_distributed.py", "--steps", "2", "--batch", "4")
