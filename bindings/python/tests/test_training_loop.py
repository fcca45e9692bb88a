"""`train`: its end, saves, callbacks and Ctrl-C."""
from __future__ import annotations

import signal
import sys
import threading

import mcm
import numpy as np
import pytest

from training_support import Stop, make


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
    for place, reason in (
        (tmp_path / "no" / "folder", "No such file"), (tmp_path, "is no regular file"), ("", "is no regular file"),
        (tmp_path / (250 * "n"), "File name too long"),
    ):
        with pytest.raises(mcm.IOFailure, match=f"{place or 'an empty path'}: {reason}"):
            mcm.train(trainer, dataset, batch=2, steps=9, save=place)
    assert trainer.state.step == 7  # said before the first step


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


@pytest.mark.usefixtures("ctrl_c")
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


@pytest.mark.usefixtures("ctrl_c")
def test_second_signal_does_not_wait(trainer, dataset):
    def callback(report):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        mcm.train(trainer, dataset, batch=2, steps=9, callback=callback)
    assert trainer.state.step == 1


@pytest.mark.usefixtures("ctrl_c")
def test_signal_within_a_step(model, trainer, dataset, tmp_path):
    timers = []

    def callback(report):
        if report.step == 1:
            timers.append(threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]))
            timers[0].start()

    with pytest.raises(KeyboardInterrupt):
        mcm.train(trainer, dataset, batch=64, accumulate=2, steps=1000, save=tmp_path / "t", callback=callback)
    timers[0].join()
    state = trainer.state
    assert state.step < 1000 and state.pending == 0 and state.examples == 128 * state.step
    assert mcm.Trainer.resume(model, tmp_path / "t").state == state


def test_handler_of_a_signal_raises_within_a_step(trainer, dataset, stop_soon):
    hook = sys.unraisablehook
    with pytest.raises(Stop):
        mcm.train(trainer, dataset, batch=64, accumulate=2, steps=1000, callback=lambda r: r.step == 1 and stop_soon())
    state = trainer.state
    assert state.step < 1000 and state.pending == 0 and state.examples == 128 * state.step
    assert sys.unraisablehook is hook


def test_training_in_another_thread(model, dataset):
    steps = []
    with make(model) as trainer:
        thread = threading.Thread(target=lambda: steps.extend(mcm.train(trainer, dataset, batch=2, steps=3).step))
        thread.start()
        thread.join()
    assert steps == [1, 2, 3]
