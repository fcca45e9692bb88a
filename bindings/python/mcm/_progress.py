"""What long calls have in common: a progress bar, and Ctrl-C."""
from __future__ import annotations

import signal
import sys
import threading
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any, Optional

from .errors import InvalidArgument


class Bar:
    """A tqdm bar, or nothing. wanted: None for a bar if tqdm is installed and stderr is a terminal."""

    def __init__(self, wanted: Optional[bool], unit: str, done: int = 0, total: Optional[int] = None) -> None:
        self._bar: Any = None
        if wanted not in (None, True, False):
            raise InvalidArgument(f"progress is {wanted!r}, expected None, True or False")
        if wanted or (wanted is None and _is_watched()):
            try:
                tqdm = import_module("tqdm.auto").tqdm
            except ImportError:
                if wanted:
                    raise ImportError("progress=True needs tqdm: pip install tqdm") from None
            else:
                self._bar = tqdm(initial=done, total=total, unit=unit)

    def update(self, done: int, **values: object) -> None:
        """done: in all, as in the constructor. values: to show at the bar's end."""
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _is_watched() -> bool:
    """Whether stderr, which may be anything, is a terminal or a notebook's."""
    try:
        return "ipykernel" in type(sys.stderr).__module__ or bool(sys.stderr.isatty())
    except (AttributeError, ValueError):
        return False


class HeldInterrupt:
    """While it is entered, a first Ctrl-C only sets `held`; on leaving, it becomes the KeyboardInterrupt after all.

    A second one is not held back. Python's own handler alone is replaced, and only the main thread gets Ctrl-C:
    elsewhere this does nothing.
    """

    held = False

    def _handle(self, number: int, frame: Optional[FrameType]) -> None:
        if self.held:
            signal.default_int_handler(number, frame)
        self.held = True

    def __enter__(self) -> HeldInterrupt:
        is_main = threading.current_thread() is threading.main_thread()
        self._installed = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.held and (kind is None or issubclass(kind, Exception)):
            raise KeyboardInterrupt
