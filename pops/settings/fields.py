"""Fields of settings, and the checks of their values.

Imports nothing of the package but its errors.
"""

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from pops.errors import UsageError

__all__ = [
    "LARGEST_SEED",
    "MOST_SIZE",
    "MOST_STEPS",
    "argument",
    "check_range",
    "check_seeds",
    "setting",
    "whole_numbers",
]

MOST_STEPS = 1000  # the schedule's training steps
MOST_SIZE = 4096  # pixels of a side of a rendered picture
LARGEST_SEED = 2**63 - 1


def whole_numbers(value: str | int | Iterable[int]) -> tuple[int, ...]:
    """`18,42`, `[18,42]`, `18` or a YAML list, as a tuple; ValueError for anything else."""
    if isinstance(value, str):
        value = [int(part) for part in value.strip().removeprefix("[").removesuffix("]").split(",")]
    return (value,) if isinstance(value, int) else tuple(int(part) for part in value)


def setting(default: Any, says: str, choices: Iterable[str] | None = None) -> Any:
    """Declare a field of settings that is a flag.

    Args:
        default: its value where it is not given.
        says: its help.
        choices: the names that may be given, such as the keys of a table, which are read when help
            is shown or a value is parsed, so that rows that were added count; None for any.
    """
    return field(default=default, metadata={"help": says, "choices": choices})


def argument(says: str, nargs: str | None = None) -> Any:
    """A field without default that is given by place."""
    return field(metadata={"help": says, "nargs": nargs, "positional": True})


def check_seeds(name: str, seeds: tuple[int, ...]) -> None:
    """UsageError naming the flag unless there are seeds and a generator takes each."""
    if not seeds:
        raise UsageError(f"--{name} is empty: give one or more whole numbers, as in 18,42")
    for seed in seeds:
        check_range(name, seed, 0, LARGEST_SEED)


def check_range(name: str, value: int | None, least: int, most: int) -> None:
    """UsageError naming the flag unless `value` is None or within [least, most]."""
    if value is not None and not least <= value <= most:
        raise UsageError(f"--{name} must be from {least} to {most}, not {value}")
