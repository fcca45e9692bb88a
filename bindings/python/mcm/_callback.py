"""Exceptions in functions that the library calls back."""
from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any, Callable, Optional


class Callback:
    """A function for the library to call, which returns whether to stop. What is raised in it, which may not pass
    through the library, stops the run too, and is raised at the end of a `with` block around the call.

    A signal handler may raise as `__call__` begins, before its `try`. ctypes hands that to sys.unraisablehook. Only the
    main thread has signal handlers.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self.raised: list[BaseException] = []

    def __call__(self, *arguments: object) -> bool:
        try:
            return bool(self.raised or self._function(*arguments))
        except BaseException as error:
            self.raised.append(error)
            return True

    def _hook(self, unraisable: Any) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and "ctypes callback" in (unraisable.err_msg or ""):
            self.raised.append(unraisable.exc_value)
        else:
            self._previous(unraisable)

    def __enter__(self) -> Callback:
        self._previous = sys.unraisablehook
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            sys.unraisablehook = self._hook
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._installed:
            sys.unraisablehook = self._previous
        if self.raised:
            raise self.raised[0] from None
