"""The revision renderer: SDXL with the embedding in the place of its prompt's, and no adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pops.render.batches import ArrayRenderer
from pops.render.checkpoints import check_dim, load_base
from pops.render.sdxl import SDXL, SETTINGS, adapter_keywords, render_batches
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from pops.stacks.stack import Stack

__all__ = ["RevisionRenderer"]

POOLED_DIM = 1280  # of SDXL's second text encoder, which is that of CLIP ViT-bigG/14


class RevisionRenderer(ArrayRenderer):
    """Renders with the embedding where SDXL expects the pooled embedding of its prompt.

    Text and picture encoder of CLIP share their space, so SDXL understands either there. Without a
    prompt, the tokens that it reads beside it are zeros, so that the embedding alone decides.

    Args:
        sdxl: SDXL, with an IP-Adapter or without.
    """

    takes = ("preset", "prompt")
    settings = SETTINGS

    def __init__(self, sdxl: SDXL) -> None:
        self.sdxl = sdxl

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer of a stack; it shares SDXL with the other renderers.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            UsageError: SDXL takes embeddings of another length than the stack's.
            WeightsError: A part is missing, damaged or does not fit.
        """
        if stack.spec.sdxl == type(stack.spec).sdxl:  # before anything is downloaded
            check_dim("pooled prompt of SDXL", POOLED_DIM, stack)
        sdxl = stack.shared(load_base)
        encoder = sdxl.encoders["text_encoder_2"]
        check_dim("pooled prompt of SDXL", encoder.config.projection_dim, stack)
        return cls(sdxl)

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
            settings: Steps, guidance and size, preset and prompt.
            progress: Called with the name of the work, the steps done, and all steps.
            depth_of: Not used.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].
        """
        pipeline = self.sdxl.pipeline
        prompt = self.sdxl.prompt(settings.prompt, "")

        def condition(embeds: Tensor) -> dict[str, Any]:
            tokens = prompt.embeds.expand(len(embeds), -1, -1)
            zeros, none = torch.zeros_like(tokens), torch.zeros_like(embeds)
            return {
                "prompt_embeds": tokens if settings.prompt else zeros,
                "negative_prompt_embeds": zeros,
                "pooled_prompt_embeds": embeds,
                "negative_pooled_prompt_embeds": none,
                **(adapter_keywords(none, settings.guidance) if self.sdxl.has_adapter else {}),
            }

        alone = replace(settings, ip_adapter_scale=0.0)  # where another renderer has put one in
        with self.sdxl.placement.using(pipeline.unet, pipeline.vae):
            return render_batches(
                self.sdxl,
                pipeline,
                prompt,
                image_embeds,
                seeds,
                alone,
                progress,
                condition=condition,
            )
