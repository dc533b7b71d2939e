"""Which record comes when: pure functions of (seed, position), so that any process can resume."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["Parts", "row"]


def row(seed: int, position: int, length: int) -> tuple[int, int]:
    """(epoch, index) of the sample at a global position: every epoch is a seeded permutation."""
    epoch, place = divmod(position, length)
    return epoch, int(_permutation(seed, epoch, length)[place])


@lru_cache(maxsize=4)  # a batch may span two epochs, of training and of validation
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


@dataclass(frozen=True)
class Parts:
    """Datasets of different length in one order, in which each is equally likely.

    An epoch visits every record of the longest once, and those of a shorter one again and again:
    each such turn draws its random choices anew. Over time all records of one are used alike.
    """

    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths) * max(self.lengths)

    def locate(self, epoch: Any, index: Any) -> tuple[Any, Any, Any]:
        """(part, record in it, turn) of whole numbers or of arrays (N,) of them.

        Of a single part, the record is the index, and the turn is the epoch.
        """
        part = index % len(self.lengths)
        count = epoch * max(self.lengths) + index // len(self.lengths)
        length = np.asarray(self.lengths)[part]
        return part, count % length, count // length
