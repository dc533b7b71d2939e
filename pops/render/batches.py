"""Parts that renderers share: checks of requests, noise, arrays to pictures, counting of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pops.errors import NotFiniteError, UsageError
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

__all__ = ["ArrayRenderer", "Counter", "check_request", "make_generators", "to_pictures"]


class ArrayRenderer(ABC):
    """A renderer that draws into arrays, and keeps no picture's depth unless it says so."""

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
            settings: Steps, guidance, size and the options that the renderer takes.
            progress: Called with the name of the work, the steps done, and all steps.
            depth_of: The picture of each embedding whose depth is kept, where the renderer does so.

        Returns:
            One picture for each embedding.
        """
        return to_pictures(self.render_arrays(image_embeds, seeds, settings, progress, depth_of))

    @abstractmethod
    def render_arrays(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> np.ndarray:
        """Render every embedding with its seed, into an array.

        Args:
            image_embeds: Un-normalised embeddings (N, D).
            seeds: The seed of each picture.
            settings: Steps, guidance, size and the options that the renderer takes.
            progress: Called with the name of the work, the steps done, and all steps.
            depth_of: The picture of each embedding whose depth is kept, where the renderer does so.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].
        """


def check_request(
    image_embeds: Tensor, seeds: Sequence[int], settings: DecoderSettings, multiple: int, most: int
) -> None:
    """Check that a pipeline can draw what it is asked for.

    Args:
        image_embeds: Embeddings (N, D).
        seeds: The seed of each picture.
        settings: Steps and size.
        multiple: The number of pixels of which the pipeline draws multiples.
        most: The largest number of steps that its scheduler takes.

    Raises:
        UsageError: The size or the steps do not fit the pipeline.
        ValueError: There is not one seed for each embedding.
    """
    if len(seeds) != len(image_embeds):
        raise ValueError(f"{len(seeds)} seeds for {len(image_embeds)} embeddings")
    if settings.size < multiple or settings.size % multiple:
        raise UsageError(
            f"size must be a multiple of {multiple} for this decoder, not {settings.size}"
        )
    if not 1 <= settings.steps <= most:
        raise UsageError(f"decoder steps must be between 1 and {most}, not {settings.steps}")


def make_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Make a generator for each seed, on the CPU, so that it means the same on every device.

    Args:
        seeds: The seeds.

    Returns:
        The generators.
    """
    return [torch.Generator().manual_seed(seed) for seed in seeds]


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

    def on_step(self, *_: object) -> dict[str, Tensor]:
        """Count one step, as a pipeline of diffusers calls it.

        Args:
            *_: The facts of the step, which are not used.

        Returns:
            Nothing that the pipeline would replace.
        """
        self.advance()
        return {}
