"""Fields of settings, the kinds and the ranges of their values.

Imports nothing of the package but its errors.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from pops.errors import UsageError

__all__ = [
    "ACTORS",
    "AMOUNT",
    "BATCH",
    "GUIDANCE",
    "LARGEST_SEED",
    "MOST_SIZE",
    "MOST_STEPS",
    "SEED",
    "SHARE",
    "SIZE",
    "STEPS",
    "THREADS",
    "WORKERS",
    "PathOrName",
    "PathsOrNames",
    "Range",
    "Settings",
    "argument",
    "others",
    "setting",
    "whole_number",
    "whole_numbers",
]

MOST_STEPS = 1000  # the schedule's training steps
MOST_SIZE = 4096  # pixels of a side of a rendered picture
MOST_NUMBERS = 10_000  # of one setting
LARGEST_SEED = 2**63 - 1
MOST_LETTERS = 40  # of a wrong number that is shown


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be, or each of its numbers where it takes several.

    Args:
        least: the smallest.
        most: the largest.
    """

    least: float
    most: float

    def check(self, name: str, value: float | tuple[float, ...] | None) -> None:
        """Check that a value is in the range.

        Args:
            name: the name of the flag.
            value: a number, a tuple of numbers, or None where none is given.

        Raises:
            UsageError: a number is out of range or none at all, or there are no numbers or too
                many; the error names the flag.
        """
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if value == ():
            raise UsageError(f"--{name} is empty: give one or more numbers, as in 1,8")
        if len(numbers) > MOST_NUMBERS:
            raise UsageError(f"--{name} takes at most {MOST_NUMBERS} numbers, not {len(numbers)}")
        for number in numbers:
            if not self.least <= number <= self.most:  # false for NaN, too
                least, most = _spelled(self.least), _spelled(self.most)
                raise UsageError(f"--{name} must be from {least} to {most}, not {_spelled(number)}")


# The ranges of settings that several commands have.
SEED = Range(0, LARGEST_SEED)
STEPS = Range(1, MOST_STEPS)
SIZE = Range(1, MOST_SIZE)
GUIDANCE = Range(0, 100)
SHARE = Range(0, 1)
AMOUNT = Range(1, 10**9)  # of steps, samples or records
BATCH = Range(1, 10_000)
WORKERS = Range(0, 1024)  # processes
ACTORS = Range(1, 10_000)
THREADS = Range(1, 1024)


class Settings:
    """Base of the settings of commands, which refuses numbers that are out of range."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            if (within := one.metadata.get("within")) is not None:
                within.check(one.name, getattr(self, one.name))


def _spelled(number: float) -> str:
    text = f"{number:.12g}" if isinstance(number, float) else str(number)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."


# A path, or the name of what is found elsewhere: a stack, an operator, a repository of the hub.
PathOrName = Annotated[str, "a path or a name"]
PathsOrNames = Annotated[tuple[str, ...], "paths or names"]


def whole_number(value: str | int) -> int:
    """Read a whole number.

    Args:
        value: a number, or a text of digits.

    Returns:
        The number.

    Raises:
        ValueError: the value is anything else, such as `true`, `1.0` or `1e3`.
    """
    plain = isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+", value.strip())
    if isinstance(value, bool) or not (plain or isinstance(value, int)):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def whole_numbers(value: str | int | Iterable[str | int]) -> tuple[int, ...]:
    """Read whole numbers.

    Args:
        value: `18,42`, `[18,42]`, `1..8` for all from 1 to 8, `18` or a list.

    Returns:
        The numbers.

    Raises:
        ValueError: the value is anything else.
    """
    if isinstance(value, str):
        value = value.strip().removeprefix("[").removesuffix("]").split(",")
    items = value if isinstance(value, Iterable) else [value]
    return tuple(number for item in items for number in _from_to(item))


def _from_to(value: str | int) -> Iterable[int]:
    """Read a whole number, or all from one to another: `1..8`, `8..1`."""
    first, dots, last = value.partition("..") if isinstance(value, str) else (value, "", "")
    if not dots:
        return [whole_number(value)]
    start, stop = whole_number(first), whole_number(last)
    step = 1 if start <= stop else -1
    if abs(stop - start) >= MOST_NUMBERS:
        raise ValueError(f"{value!r} is more than {MOST_NUMBERS} numbers")
    return range(start, stop + step, step)


def setting(
    default: Any, says: str, choices: Iterable[str] | None = None, *, within: Range | None = None
) -> Any:
    """Declare a field of settings that is a flag.

    Args:
        default: its value where it is not given.
        says: its help.
        choices: the names that may be given, such as the keys of a table, which are read when help
            is shown, so that rows that were added count; None for any.
        within: the range of a number, or of each number of several.

    Returns:
        The field.
    """
    return field(default=default, metadata={"help": says, "choices": choices, "within": within})


def argument(says: str, nargs: str | None = None) -> Any:
    """Declare a field of settings without default that is given by place.

    Args:
        says: its help.
        nargs: `*` for one that takes all the inputs that are left.

    Returns:
        The field.
    """
    return field(metadata={"help": says, "nargs": nargs, "positional": True, "choices": None})


def others(says: str) -> Any:
    """Declare a field of settings that takes every flag that no other field has, by its name.

    Args:
        says: what they are, for whoever reads the settings.

    Returns:
        The field.
    """
    return field(default_factory=dict, metadata={"help": says, "others": True})
