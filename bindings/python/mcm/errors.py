"""What a failing call raises: one class per kind of status, each also the builtin that fits it."""
from __future__ import annotations


class MCMError(Exception):
    """Base of everything that libmcm reports. `status` is the C library's number for it."""

    status = 0


class InvalidArgument(MCMError, ValueError):
    """An argument is out of range, not finite, an unknown name, ..."""

    status = 1


class StructSizeError(MCMError):
    """The library does not know a struct of this size: package and library do not fit together."""

    status = 2


class SizeError(MCMError, ValueError):
    """An array or image has the wrong shape or size."""

    status = 3


class StateError(MCMError, RuntimeError):
    """Not now: a step before seeding or past the end, the use of a closed object, ..."""

    status = 4


class IncompatibleError(MCMError, ValueError):
    """A modulator does not fit the model, or a condition does not fit the modulator."""

    status = 5


class IOFailure(MCMError, OSError):
    """A file cannot be opened, read or written."""

    status = 100


class FormatError(MCMError, ValueError):
    """A file is damaged, or not what it should be."""

    status = 101


class UnsupportedError(MCMError, NotImplementedError):
    """Valid, but the library does not do it."""

    status = 102


class OutOfMemory(MCMError, MemoryError):
    """An allocation failed, or would exceed the machine's memory."""

    status = 103


class CPUError(MCMError):
    """The CPU lacks instructions that the library needs."""

    status = 104


class Cancelled(MCMError):
    """A callback asked to stop."""

    status = 200


_CLASSES = {cls.status: cls for cls in MCMError.__subclasses__()}


def error(status: int, message: str) -> MCMError:
    """The exception for a status other than 0."""
    result = _CLASSES.get(status, MCMError)(message)
    result.status = status
    return result
