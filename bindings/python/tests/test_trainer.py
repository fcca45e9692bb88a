"""Steps of trainers: batches, gradients, losses."""
from __future__ import annotations

from dataclasses import FrozenInstanceError

import mcm
import numpy as np
import pytest

from conftest import FASHION
from training_support import CONDITIONS, IMAGES, batch, make, parameters


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
