"""Errors with the value, the expectation and the remedy, and the exit code each one means.

Every error derives from `JftDataError` and from the built-in a caller would expect, so `except ValueError` works too.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class JftDataError(Exception):
    """Base of all errors this library raises on purpose."""

    exit_code: ClassVar[int] = 1


class BadArgument(JftDataError, ValueError):
    """An argument, option or config field is out of range, misspelt or without effect."""

    exit_code = 2


class UnknownOption(BadArgument, KeyError):
    """A recipe, task, field or other choice that is not known; the nearest one is suggested."""

    __str__ = Exception.__str__  # KeyError would print the repr


class OutputExists(JftDataError, FileExistsError):
    """The output is there already, made with other arguments or inputs."""

    exit_code = 2


class BadInput(JftDataError, ValueError):
    """User data is missing, malformed or contradicts itself."""

    exit_code = 3


class MissingInput(BadInput, FileNotFoundError):
    """A file or folder that was named is not there."""


class UnknownName(BadInput, KeyError):
    """A label, split or other name in the data that is not known; the nearest one is suggested."""

    __str__ = Exception.__str__


class CycleError(BadInput):
    """A hierarchy in which a label is its own ancestor."""


class ImageRejected(BadInput):
    """One image that cannot be used; `reason` is a short fixed word for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.reason, str(self))


class Damaged(JftDataError, OSError):
    """An artefact whose bytes no longer match its own SHA-256, or a part of it is gone."""

    exit_code = 4


class TooLittleMemory(JftDataError, MemoryError):
    """What was asked does not fit into memory; nothing was done."""

    exit_code = 5


class TooManyRejects(JftDataError, ValueError):
    """More images were rejected than the caller allows."""

    exit_code = 6


class NonFinite(JftDataError, ArithmeticError):
    """Training met a NaN or infinite loss; nothing was updated or saved."""

    exit_code = 7


class Interrupted(JftDataError, KeyboardInterrupt):
    """A signal asked the run to stop; what was done is saved and the same command goes on from there."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.signal_number, str(self))


class StudyFailed(JftDataError, RuntimeError):
    """Cells of a study failed; `exit_code` is that of the first."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.exit_code)


class Locked(JftDataError, BlockingIOError):
    """Another process is writing the same output."""

    exit_code = 75


def nearest(name: str, known: Iterable[str]) -> str:
    """A tail for an error sentence that names the closest known name, or nothing.

    >>> nearest("aple", ["apple", "bus"])
    " Did you mean 'apple'?"
    >>> nearest("zzz", ["apple", "bus"])
    ''
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def one_of(
    what: str, name: str, known: Iterable[str], *, error: type[UnknownOption | UnknownName] = UnknownOption
) -> UnknownOption | UnknownName:
    """An error that lists what is known when the list is short and suggests the nearest.

    >>> str(one_of("task", "kn", ["knn", "linear-probe"]))
    "task 'kn' is not known. Did you mean 'knn'? Known: knn, linear-probe."
    """
    names = sorted(known)
    listing = f" Known: {', '.join(names)}." if len(names) <= 30 else ""
    return error(f"{what} {name!r} is not known.{nearest(name, names)}{listing}")
