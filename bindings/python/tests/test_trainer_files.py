"""Trainers and modules in files."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

from conftest import FASHION
from training_support import CONDITIONS, make


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
