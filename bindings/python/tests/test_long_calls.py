"""Long calls: other threads go on, Ctrl-C stops them, and a bar shows them."""
from __future__ import annotations

import signal
import threading
import time

import mcm
import numpy as np
import pytest

from test_training_progress import Terminal


def test_other_threads_go_on(model):
    """The GIL is free: a thread of Python's counts on while the library works."""
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.002):
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=tick)
    ticker.start()
    batch = 16
    while True:
        start = time.perf_counter()
        model.predict(np.zeros((batch, 1, 28, 28)), 500)
        end = time.perf_counter()
        if end - start > 0.2:
            break
        batch *= 2
    done.set()
    ticker.join()
    assert sum(start < time < end for time in ticks) >= 5


@pytest.fixture()
def interrupted(ctrl_c):
    """Sends Ctrl-C after 0.2 seconds, and checks that the block then ends soon."""
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    def check(call):
        timer = threading.Timer(0.2, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call()
        timer.join()
        assert time.perf_counter() - sent[-1] < 2

    return check


def test_ctrl_c_in_generate(model, modulator, interrupted):
    interrupted(lambda: mcm.generate(model, seeds=1, batch=2, scheduler="ddpm"))
    assert mcm.generate(model, seeds=1, scheduler="ddim", steps=2).shape == (1, 28, 28)


LOOPS = [mcm.Session.run, list, lambda session: session.run(lambda step: step.preview())]


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_in_a_session(model, interrupted, loop):
    """It goes on as if nothing had happened."""
    options = dict(scheduler="ddim", steps=1000)
    with mcm.Session(model, **options) as whole, mcm.Session(model, **options) as run:
        whole.seed(3)
        run.seed(3)
        interrupted(lambda: loop(run))
        assert 0 < run.steps_done < 1000
        done = run.step().step
        while whole.steps_done < done:
            whole.step()
        assert np.array_equal(run.x, whole.x)


def test_ctrl_c_in_encode(sd, tmp_path, interrupted):
    mcm.write_dataset(tmp_path / "images", np.zeros((1000, 64, 64, 3), np.uint8))
    with mcm.Dataset(tmp_path / "images") as dataset:
        interrupted(lambda: dataset.encode(sd, tmp_path / "samples", progress=False))
        assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_ctrl_c_in_record(model, dataset, tmp_path, interrupted):
    record = lambda count: mcm.Bank.record(model, dataset, tmp_path / "bank", count, progress=False)
    interrupted(lambda: record(100000))
    assert (tmp_path / "bank.part").exists() and not (tmp_path / "bank").exists()


def test_ctrl_c_in_train(trainer, dataset, interrupted):
    interrupted(lambda: mcm.train(trainer, dataset, batch=4, steps=100000))
    step = trainer.state.step
    assert 0 < step < 100000
    assert len(mcm.train(trainer, dataset, batch=4, steps=step + 1)) == 1


def test_bar(model, monkeypatch):
    terminal = Terminal(monkeypatch)
    mcm.generate(model, scheduler="ddim", steps=2)
    expected = [(0, 2, "steps"), (), 1, (), 2, "closed"]
    assert terminal.log == expected
    mcm.generate(model, scheduler="ddim", steps=2, progress=False)
    mcm.generate(model, scheduler="ddim", steps=2, progress=lambda step: None)
    assert terminal.log == expected
    del terminal.log[:]
    with mcm.Session(model, scheduler="ddim", steps=3) as session:
        session.seed(0)
        session.step()
        session.run(progress=True)
    assert terminal.log == [(1, 3, "steps"), (), 2, (), 3, "closed"]
    with mcm.Session(model) as session, pytest.raises(mcm.InvalidArgument, match="progress is 'yes'"):
        session.run("yes")
