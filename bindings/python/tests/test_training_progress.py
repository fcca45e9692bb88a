"""What a run shows: progress bars and plots."""
from __future__ import annotations

import io
import sys
from types import ModuleType, SimpleNamespace

import mcm
import pytest

from training_support import Stop, make


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

        module = ModuleType("tqdm.auto")
        module.tqdm = Bar
        monkeypatch.setitem(sys.modules, "tqdm", ModuleType("tqdm"))
        monkeypatch.setitem(sys.modules, "tqdm.auto", module)
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True, write=len, flush=int))


def stop(report):
    raise Stop


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
        mcm.train(resumed, dataset, batch=2, callback=stop)
    assert terminal.log == [(1, 5, "steps"), ("loss", "base"), 2, "closed"]
    closed = io.StringIO()
    closed.close()
    for step, stderr in enumerate((None, closed, object()), 4):
        monkeypatch.setattr(sys, "stderr", stderr)
        mcm.train(trainer, dataset, batch=2, steps=step)


def test_progress_without_tqdm(trainer, dataset, monkeypatch):
    Terminal(monkeypatch)
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)  # import fails
    assert len(mcm.train(trainer, dataset, batch=2, steps=1)) == 1
    with pytest.raises(ImportError, match="pip install tqdm"):
        mcm.train(trainer, dataset, batch=2, steps=2, progress=True)
    assert trainer.state.step == 1


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
    with pytest.raises(mcm.IOFailure, match="no/loss.png: No such file"):
        history.plot(tmp_path / "no" / "loss.png")


def test_plot_without_matplotlib(trainer, dataset, monkeypatch):
    history = mcm.train(trainer, dataset, batch=2, steps=2)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        history.plot()
