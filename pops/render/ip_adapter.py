"""The IP-Adapter renderer: SDXL shows an embedding in another way than the stack's decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from pops.render.batches import ArrayRenderer
from pops.render.checkpoints import load_sdxl
from pops.render.sdxl import OPTIONS, SDXL, SETTINGS, UNWANTED, render_batches
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from pops.stacks.stack import Stack

__all__ = ["IPAdapterRenderer"]


class IPAdapterRenderer(ArrayRenderer):
    """Renders conditioned on the embedding, and on a prompt where one is given.

    Args:
        sdxl: SDXL with its IP-Adapter.
    """

    takes = OPTIONS
    settings = SETTINGS

    def __init__(self, sdxl: SDXL) -> None:
        self.sdxl = sdxl

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer of a stack.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            UsageError: The adapter is for embeddings of another length than the stack's.
            WeightsError: A part is missing, damaged or does not fit.
        """
        return cls(stack.shared(load_sdxl))

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
            settings: Steps, guidance and size.
            progress: Called with the name of the work, the steps done, and all steps.
            depth_of: Not used.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].
        """
        pipeline = self.sdxl.pipeline
        prompt = self.sdxl.prompt(settings.prompt, UNWANTED)
        with self.sdxl.placement.using(pipeline.unet, pipeline.vae):
            return render_batches(
                self.sdxl, pipeline, prompt, image_embeds, seeds, settings, progress
            )
