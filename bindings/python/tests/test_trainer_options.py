"""What a trainer is told: the module's config, and options."""
from __future__ import annotations

import json

import mcm
import numpy as np
import pytest

from conftest import FASHION
from training_support import CONFIG, COUNT, batch, make, parameters


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


def test_unknown_option(model, tmp_path):
    with pytest.raises(TypeError, match="unknown option 'lr', expected one of warmup_steps"):
        make(model, lr=1)
    with pytest.raises(TypeError):
        make(model, learning_rate="fast")
    with pytest.raises(TypeError, match="'lr'"):
        mcm.Trainer.from_module(model, FASHION / "module.mcm.safetensors", lr=1)


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
