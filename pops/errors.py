"""Errors that pops raises, as a tree.

    PopsError                 the base; a command exits with `exit_status`
    ├── UsageError            the command or call itself is wrong (exit status 2)
    ├── InputError            a picture or embedding file cannot be used
    ├── WeightsError          a stack or operator is missing, cut short or does not fit
    ├── DataError             training data is missing, stale, or too much of it is broken
    ├── DeviceMemoryError     a GPU has too little memory
    ├── OutputError           a result cannot be written
    └── NotFiniteError        a result is not finite: an input or a weight is too large, or damaged

Every message is one line that names the file or setting, says what is wrong and what to do. Of a
text that the user wrote, two more lines show the span.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Self

from pops import DISTRIBUTION

__all__ = [
    "DataError",
    "DeviceMemoryError",
    "InputError",
    "NotFiniteError",
    "OutputError",
    "PopsError",
    "UsageError",
    "WeightsError",
    "install_hint",
    "check_known",
    "nearest",
]

LONGEST_NAME = 300  # letters of a name for which a near one is looked for
NEAR = 0.6  # the share of letters in common from which a name is suggested


def install_hint(extra: str) -> str:
    """Tell how to install one of the project's optional extras, for the end of a message.

    Args:
        extra: the name of an extra in `pyproject.toml`, such as `train`.

    Returns:
        A command for a shell: `pip install 'NAME[extra]'`.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


class PopsError(Exception):
    """Base of every error that a user of pops can cause and mend."""

    exit_status = 1
    span: object = None  # the part of the user's own text at fault; printed, lines with a caret

    def at(self, span: object) -> Self:
        """Show this error with the part of the user's text that it speaks of.

        Args:
            span: that part; printed, it is lines with a caret. None takes away an earlier one.

        Returns:
            This error.
        """
        self.span = span
        return self

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.span is None else f"{message}\n{self.span}"


class UsageError(PopsError):
    """The command line or the call does not fit: unknown name, wrong number of inputs."""

    exit_status = 2


class InputError(PopsError):
    """A picture or an embedding file is missing, broken, too large or of another stack."""


class WeightsError(PopsError):
    """A stack or an operator is missing, incomplete, or does not belong together."""


class DataError(PopsError):
    """A dataset or its cache is missing or stale, or too many of its records are broken."""


class DeviceMemoryError(PopsError):
    """A device has too little memory for the models or for their work."""


class OutputError(PopsError):
    """A result could not be written."""


class NotFiniteError(PopsError):
    """A result holds a number that is not finite, so that it is worth nothing.

    Attributes:
        rows: the requests or embeddings of the call whose results are not finite, by number.
    """

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that a mistyped one is near to, for the end of an error message.

    Case makes no difference, and an ending that two file names share does not make them near.

    Args:
        name: the name that is not known.
        known: the names that are.

    Returns:
        `: did you mean ...?`, or nothing where no known name is near.
    """
    if len(name) > LONGEST_NAME:
        return ""
    likeness = {other: _likeness(name.lower(), other.lower()) for other in sorted(set(known))}
    best = max(likeness, key=likeness.__getitem__, default=None)
    return f": did you mean {best}?" if best is not None and likeness[best] >= NEAR else ""


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Check that a name is one of those that are known.

    Args:
        kind: the word for what is named, such as `renderer`.
        name: the name to check.
        known: all the names that may be given.

    Raises:
        UsageError: the name is unknown; it suggests the nearest and lists all.
    """
    names = list(known)
    if name not in names:
        near = nearest(name, names)
        raise UsageError(f"unknown {kind} {name!r}{near} (the {kind}s are {', '.join(names)})")


def _likeness(name: str, other: str) -> float:
    """Compute the share of letters that two names have in common, without a common ending."""
    stem, dot, ending = name.rpartition(".")
    other_stem, _, other_ending = other.rpartition(".")
    if dot and ending == other_ending:
        name, other = stem, other_stem
    return difflib.SequenceMatcher(None, name, other).ratio()
