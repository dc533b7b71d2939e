"""Fields of settings, and the checks of their values.

Imports nothing of the package but its errors.
"""

import re
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

from pops.errors import UsageError

__all__ = [
    "LARGEST_SEED",
    "MOST_SIZE",
    "MOST_STEPS",
    "PathOrName",
    "PathsOrNames",
    "argument",
    "check_range",
    "check_seeds",
    "others",
    "setting",
    "whole_number",
    "whole_numbers",
]

MOST_STEPS = 1000  # the schedule's training steps
MOST_SIZE = 4096  # pixels of a side of a rendered picture
MOST_NUMBERS = 10_000  # of one range
LARGEST_SEED = 2**63 - 1


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


def setting(default: Any, says: str, choices: Iterable[str] | None = None) -> Any:
    """Declare a field of settings that is a flag.

    Args:
        default: its value where it is not given.
        says: its help.
        choices: the names that may be given, such as the keys of a table, which are read when help
            is shown, so that rows that were added count; None for any.

    Returns:
        The field.
    """
    return field(default=default, metadata={"help": says, "choices": choices})


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


def check_seeds(name: str, seeds: tuple[int, ...]) -> None:
    """Check that there are seeds and that a generator takes each.

    Args:
        name: the name of the flag.
        seeds: the seeds.

    Raises:
        UsageError: there are none, or one is out of range; the error names the flag.
    """
    if not seeds:
        raise UsageError(f"--{name} is empty: give one or more whole numbers, as in 18,42")
    for seed in seeds:
        check_range(name, seed, 0, LARGEST_SEED)


def check_range(name: str, value: int | None, least: int, most: int) -> None:
    """Check that a value is in a range.

    Args:
        name: the name of the flag.
        value: the value, or None where none is given.
        least: the smallest that may be.
        most: the largest that may be.

    Raises:
        UsageError: it is not; the error names the flag.
    """
    if value is not None and not least <= value <= most:
        raise UsageError(f"--{name} must be from {least} to {most}, not {value}")
