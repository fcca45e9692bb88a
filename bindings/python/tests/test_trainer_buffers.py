"""A trainer's parameters, gradients and moving average as arrays."""
from __future__ import annotations

import mcm
import numpy as np
import pytest

from training_support import batch, make, safetensors_parts


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
    tensors, data = safetensors_parts(tmp_path / "m")
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
