"""Parts that renderers share: arrays to pictures, counting of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from pops.errors import NotFiniteError
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

__all__ = ["Counter", "PlainRenderer", "to_pictures"]


class PlainRenderer(ABC):
    """A renderer of embeddings alone: it knows no depth."""

    takes_depth: ClassVar[bool] = False

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        """One picture for each embedding (N, D) and its seed."""
        return to_pictures(self.render_arrays(image_embeds, seeds, settings, progress))

    @abstractmethod
    def render_arrays(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """The same as (N, size, size, 3) float32 in [0, 1]."""


def to_pictures(arrays: Sequence[np.ndarray] | np.ndarray) -> list[Image.Image]:
    """Make pictures of (S, S, 3) floats in [0, 1]; NotFiniteError where one is not finite."""
    faulty = [row for row, array in enumerate(arrays) if not np.isfinite(array).all()]
    if faulty:
        raise NotFiniteError(f"rendered picture {faulty[0]} is not finite", faulty)
    return [Image.fromarray((array * 255).round().astype(np.uint8)) for array in arrays]


class Counter:
    """Counts the steps of one batch among those of all batches of a call."""

    def __init__(self, progress: Progress | None, steps: int, done: int, batches: int) -> None:
        """Begin at the batch after `done` of `batches`, each of so many `steps`."""
        self.progress, self.done, self.total = progress, done * steps, batches * steps

    def advance(self) -> None:
        """Count one step, and tell the progress of it."""
        self.done += 1
        if self.progress is not None:
            self.progress("render", self.done, self.total)
