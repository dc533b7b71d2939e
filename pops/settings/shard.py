"""The share of one machine in work that several machines divide."""

from __future__ import annotations

from dataclasses import dataclass

from pops.errors import UsageError

__all__ = ["Shard"]


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 0) of `count` equal parts of the samples."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard from `i/n`.

        Args:
            text: what is given.

        Returns:
            The shard.

        Raises:
            UsageError: the text has another form, or i is not below n.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
            raise UsageError(f"--shard takes i/n, with i from 0 to n - 1, as in 0/4, not {text!r}")
        return cls(int(number), int(count))
