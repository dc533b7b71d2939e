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
    """A renderer that takes embeddings alone, and keeps no picture's depth."""

    takes_depth: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ()

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        """Render every embedding with its seed.

        Args:
            image_embeds: Un-normalised embeddings (N, D).
            seeds: The seed of each picture.
            settings: Steps, guidance and size.
            progress: Called with the name of the work, the steps done, and all steps.
            depth_of: Not used.

        Returns:
            One picture for each embedding.
        """
        return to_pictures(self.render_arrays(image_embeds, seeds, settings, progress))

    @abstractmethod
    def render_arrays(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Render every embedding with its seed, into an array.

        Args:
            image_embeds: Un-normalised embeddings (N, D).
            seeds: The seed of each picture.
            settings: Steps, guidance and size.
            progress: Called with the name of the work, the steps done, and all steps.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].
        """


def to_pictures(arrays: Sequence[np.ndarray] | np.ndarray) -> list[Image.Image]:
    """Make pictures of arrays.

    Args:
        arrays: Pictures (S, S, 3), each of floats in [0, 1].

    Returns:
        The pictures, in RGB with 8 bits.

    Raises:
        NotFiniteError: A picture holds a number that is not finite; `rows` has all of these.
    """
    faulty = [row for row, array in enumerate(arrays) if not np.isfinite(array).all()]
    if faulty:
        raise NotFiniteError(f"rendered picture {faulty[0]} is not finite", faulty)
    return [Image.fromarray((array * 255).round().astype(np.uint8)) for array in arrays]


class Counter:
    """Counts the steps of one batch among those of all batches of a call.

    Args:
        progress: Called with the name of the work, the steps done, and all steps.
        steps: The steps of each batch.
        done: The number of batches that are done.
        batches: The number of all batches.
    """

    def __init__(self, progress: Progress | None, steps: int, done: int, batches: int) -> None:
        self.progress, self.done, self.total = progress, done * steps, batches * steps

    def advance(self) -> None:
        """Count one step, and tell the progress of it."""
        self.done += 1
        if self.progress is not None:
            self.progress("render", self.done, self.total)
