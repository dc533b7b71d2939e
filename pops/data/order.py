"""The order of records: pure functions of (seed, position), so that any process can resume."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["MixedOrder", "row"]


def row(seed: int, position: int, length: int) -> tuple[int, int]:
    """Find the sample at a global position; every epoch is a seeded permutation of all samples.

    Args:
        seed: The seed of the run.
        position: The number of the sample, counted from 0 over all epochs.
        length: The number of samples in an epoch.

    Returns:
        (epoch, index) of the sample.
    """
    epoch, place = divmod(position, length)
    return epoch, int(_permutation(seed, epoch, length)[place])


@lru_cache(maxsize=4)  # a batch may span two epochs, of training and of validation
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


@dataclass(frozen=True)
class MixedOrder:
    """Datasets of different lengths in one order, in which each dataset is equally likely.

    An epoch visits every record of the longest dataset once, and those of a shorter one again and
    again. Each visit of a record is a turn, with random choices of its own. Over time all records
    of one dataset are used equally often.
    """

    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths) * max(self.lengths)

    def locate(self, epoch: Any, index: Any) -> tuple[Any, Any, Any]:
        """Find the record of a sample.

        With a single dataset, the record is the index, and the turn is the epoch.

        Args:
            epoch: A whole number, or an array (N,) of them.
            index: The sample in the epoch, likewise.

        Returns:
            (part, record, turn): the number of the dataset, of the record in it, and how often the
            record was visited before.
        """
        part = index % len(self.lengths)
        count = epoch * max(self.lengths) + index // len(self.lengths)
        length = np.asarray(self.lengths)[part]
        return part, count % length, count // length
