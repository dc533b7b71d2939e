"""What can go wrong, as a tree.

    PopsError                 the base; a command exits with `exit_status`
    ├── UsageError            the command or call itself is wrong (exit status 2)
    ├── InputError            a picture or embedding file cannot be used
    ├── WeightsError          a stack or operator is missing, cut short or does not fit
    ├── DataError             training data is missing, stale, or too much of it is broken
    ├── DeviceMemoryError     a GPU has too little memory
    └── OutputError           a result cannot be written

Every message is one line that names the file or setting, says what is wrong and what to do. Of a
text that the user wrote, two more lines show the place.
"""

import difflib
from collections.abc import Iterable
from typing import Self

from pops import DISTRIBUTION

__all__ = [
    "DataError",
    "DeviceMemoryError",
    "InputError",
    "OutputError",
    "PopsError",
    "UsageError",
    "WeightsError",
    "install_hint",
    "nearest",
]


def nearest(name: str, known: Iterable[str]) -> str:
    """For the end of a message: `: did you mean ...?`, or nothing where no known name is near."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.4)
    return f": did you mean {close[0]}?" if close else ""


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
    place: object = None  # where in the user's own text: as text, lines with a caret

    def at(self, place: object) -> Self:
        """This error, shown with that place."""
        self.place = place
        return self

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.place is None else f"{message}\n{self.place}"


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
