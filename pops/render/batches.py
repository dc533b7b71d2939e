"""What renderers share: batches of bounded size, step counting, arrays to pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from pops.render import Progress

__all__ = ["Counter", "batches", "to_pictures"]


def batches(
    count: int, most: int, steps: int, progress: Progress | None
) -> Iterator[tuple[slice, Counter]]:
    """Slices of at most `most` of `count`, each with what counts its steps."""
    starts = range(0, count, most)
    for batch, start in enumerate(starts):
        yield slice(start, start + most), Counter(progress, batch * steps, len(starts) * steps)


def to_pictures(arrays: Sequence[np.ndarray] | np.ndarray) -> list[Image.Image]:
    """Pictures of (S, S, 3) floats in [0, 1]."""
    return [Image.fromarray((array * 255).round().astype(np.uint8)) for array in arrays]


class Counter:
    """Counts rendering steps over all batches of one call."""

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self.progress, self.done, self.total = progress, done, total

    def advance(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress("render", self.done, self.total)
