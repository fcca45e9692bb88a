"""The whole of a training run."""
from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np
import numpy.typing as npt

from . import _convert as convert
from . import _native as native
from ._callback import Callback
from ._convert import PathLike
from ._native import lib
from ._safetensors import check_writable
from ._progress import Bar, HeldInterrupt
from .dataset import Bank, Dataset
from .errors import Cancelled, InvalidArgument
from .plot import loss_curves
from .training import Trainer, TrainReport, report_from

Series = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainHistory:
    """What `train` saw: arrays with one number per step that it took, as in `TrainReport`."""

    step: npt.NDArray[np.int64]
    loss: Series
    weighted_loss: Series
    base_loss: Series
    learning_rate: Series
    gradient_norm: Series

    def __len__(self) -> int:
        return len(self.step)

    def plot(self, path_or_axes: Any = None) -> Any:
        """As `plot.loss_curves`."""
        return loss_curves(self, path_or_axes)


def _history(reports: Sequence[TrainReport]) -> TrainHistory:
    def series(name: str) -> Series:
        return np.array([getattr(report, name) for report in reports], np.float64)

    return TrainHistory(
        step=np.array([report.step for report in reports], np.int64),
        loss=series("loss"),
        weighted_loss=series("weighted_loss"),
        base_loss=series("base_loss"),
        learning_rate=series("learning_rate"),
        gradient_norm=series("gradient_norm"),
    )


def _one_step(
    trainer: Trainer, dataset: Dataset, bank: Optional[Bank], options: native.TrainOptions
) -> Optional[TrainReport]:
    """A step of several batches, or none, of a run; None if the run is at its end."""
    reports: list[TrainReport] = []

    # Steps from here, one call each: a function of the caller's may then do anything between them.
    def stop(user: object, handle: object, report: Any) -> bool:
        reports.append(report_from(report[0]))
        return True

    examples = Dataset._handle_of("dataset", dataset)
    bank_handle = None if bank is None else Bank._handle_of("bank", bank)
    with Callback(stop) as callback:
        after_step = native.TrainProgress(callback)
        try:
            lib.mcm_trainer_train(trainer._handle, examples, bank_handle, byref(options), after_step, None)
        except Cancelled:
            if not reports:
                raise
    return reports[-1] if reports else None


def train(
    trainer: Trainer,
    dataset: Dataset,
    bank: Optional[Bank] = None,
    *,
    batch: int = 64,
    accumulate: int = 1,
    steps: Optional[int] = None,
    save: Optional[PathLike] = None,
    save_every: int = 1000,
    progress: Optional[bool] = None,
    callback: Optional[Callable[[TrainReport], object]] = None,
) -> TrainHistory:
    """Train on a data set, or on a bank of predictions for it, until `steps` steps are taken in all.

    batch: examples accumulated at a time. accumulate: batches per step. steps: counted from the trainer's first, so
    that a resumed run ends where it would have; None: the option total_steps. save: where the trainer is saved each
    `save_every` steps (0: never) and at the end. progress: None for a tqdm bar if tqdm is installed and stderr is a
    terminal, True or False to decide. callback: called with the report after each step; it may save, sample or change
    the trainer, and stops the run by raising anything.

    After Ctrl-C the step that is running is finished and the trainer saved before KeyboardInterrupt is raised; after a
    second one it is raised when that step is done. It is saved too when `callback` raises. `Trainer.resume` goes on from there.
    Raises what `Trainer.step_dataset` and `Trainer.save` do; the trainer is then as after the last step, and not saved:
    a run that has diverged leaves the file of before.
    """
    until_step = 0 if steps is None else convert.u64("steps", steps)
    if steps is not None and until_step == 0:
        raise InvalidArgument("steps is 0, expected at least 1, or None for total_steps")
    options = native.TrainOptions(
        batch=convert.u32("batch", batch), accumulate=convert.u32("accumulate", accumulate), until_step=until_step
    )
    interval = convert.u32("save_every", save_every)
    if save is not None:
        check_writable(save)
    reports: list[TrainReport] = []
    done, saved = trainer.state.step, -1
    total = until_step or trainer.state.total_steps or None

    def keep() -> None:
        nonlocal saved
        if save is not None and saved != done:
            trainer.save(save)
            saved = done

    with HeldInterrupt() as interrupt, Bar(progress, " steps", done, total) as bar:
        while not interrupt.held:
            report = _one_step(trainer, dataset, bank, options)
            if report is None:
                break
            reports.append(report)
            done = report.step
            try:
                bar.update(done, loss=f"{report.loss:.4f}", base=f"{report.base_loss:.4f}")
                if callback is not None:
                    callback(report)
            except BaseException:
                keep()
                raise
            if interval and done % interval == 0:
                keep()
        keep()
    return _history(reports)
