"""The share of one machine in work that several machines divide."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pops.errors import UsageError

__all__ = ["Shard"]

MOST_SHARDS = 100_000
MOST_LETTERS = 40  # of what is given


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
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        number, count = map(int, match.groups()) if match else (0, 0)
        if not number < count <= MOST_SHARDS:
            raise UsageError(
                "--shard takes i/n, with i from 0 to n - 1, as in 0/4, and n up to "
                f"{MOST_SHARDS}, not {text[:MOST_LETTERS]!r}"
            )
        return cls(number, count)
