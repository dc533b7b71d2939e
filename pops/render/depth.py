"""The depth renderer: SDXL with an IP-Adapter, and a ControlNet that keeps a picture's depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ControlNetModel
from PIL import Image
from torch import Tensor
from transformers import DPTForDepthEstimation, DPTImageProcessorPil

from pops.io.loading import load_model, load_part, quietly
from pops.io.machine.placement import Placement
from pops.render.batches import ArrayRenderer
from pops.render.checkpoints import load_sdxl
from pops.render.sdxl import OPTIONS, SDXL, SETTINGS, ControlNetPipeline, render_batches
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from pops.stacks.stack import Stack

__all__ = ["DepthEstimator", "DepthRenderer"]

CONTROL_SCALE = 0.5
PICTURE_SIZE = (512, 512)  # what the published scripts make of a picture before its depth is taken


class DepthEstimator:
    """Estimates the depth of pictures.

    Args:
        model: The depth model.
        processor: Makes the model's pixels of a picture.
        placement: Where the model runs.
    """

    def __init__(
        self, model: DPTForDepthEstimation, processor: DPTImageProcessorPil, placement: Placement
    ) -> None:
        self.model = model
        self.processor = processor
        self.placement = placement

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the depth model of a stack, in float32: its output is stretched to the whole range.

        Args:
            stack: The stack.

        Returns:
            The estimator.

        Raises:
            WeightsError: The model is missing or damaged.
        """
        folder = stack.folder("dpt")
        model = load_model(DPTForDepthEstimation, folder, stack.placement.rest, torch.float32)
        processor = load_part(DPTImageProcessorPil, folder)
        return cls(model, processor, stack.placement)

    def maps(self, pictures: Sequence[Image.Image], size: int) -> Tensor:
        """Estimate the depth of pictures, of each distinct one once.

        Args:
            pictures: N pictures of any size.
            size: The pixels of a side of a map.

        Returns:
            Maps (N, 3, size, size) in [0, 1], 1 nearest, on the CPU.
        """
        with self.placement.using(self.model):
            distinct = {id(picture): picture for picture in pictures}
            known = {key: self._map(picture, size) for key, picture in distinct.items()}
        none = torch.zeros(0, 3, size, size)
        return torch.cat([none, *(known[id(picture)][None] for picture in pictures)])

    @torch.inference_mode()
    def _map(self, picture: Image.Image, size: int) -> Tensor:
        square = picture.convert("RGB").resize(PICTURE_SIZE)
        pixels = self.processor(square, return_tensors="pt")["pixel_values"]
        depth = self.model(pixels.to(self.model.device)).predicted_depth  # (1, h, w)
        depth = F.interpolate(depth[:, None].float(), (size, size), mode="bicubic").cpu()[0]
        low, high = depth.amin(), depth.amax()
        depth = (depth - low) / (high - low).clamp(min=1e-6)  # a flat picture has no depth
        return (depth * 255).floor().expand(3, -1, -1) / 255  # the published maps have 8 bits


class DepthRenderer(ArrayRenderer):
    """Renders as `IPAdapterRenderer` does, and keeps the depth of a picture.

    Args:
        sdxl: SDXL with its IP-Adapter.
        pipeline: The pipeline with the depth ControlNet.
        depth: Estimates the depth of the pictures.
    """

    takes_depth: ClassVar[bool] = True
    takes = OPTIONS
    settings = SETTINGS

    def __init__(self, sdxl: SDXL, pipeline: ControlNetPipeline, depth: DepthEstimator) -> None:
        self.sdxl = sdxl
        self.pipeline = pipeline
        self.depth = depth

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer of a stack.

        It shares SDXL with `IPAdapterRenderer`. Its VAE is its own, as in the published scripts.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            UsageError: The adapter is for embeddings of another length than the stack's.
            WeightsError: A part is missing, damaged or does not fit.
        """
        sdxl = stack.shared(load_sdxl)
        parts = dict(sdxl.pipeline.components)
        controlnet = stack.model(ControlNetModel, stack.folder("controlnet"))
        parts["vae"] = stack.model(AutoencoderKL, stack.folder("sdxl_vae"))
        parts["vae"].enable_slicing()
        with quietly():
            pipeline = ControlNetPipeline(**parts, controlnet=controlnet, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        return cls(sdxl, pipeline, stack.shared(DepthEstimator.load))

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
            depth_of: The picture of each embedding whose depth is kept.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].

        Raises:
            ValueError: There is not one picture for each embedding.
        """
        pictures = depth_of or []
        if len(pictures) != len(image_embeds):
            raise ValueError(f"{len(pictures)} pictures for {len(image_embeds)} embeddings")
        maps = self.depth.maps(pictures, settings.size)
        pipeline, prompt = self.pipeline, self.sdxl.prompt(settings.prompt, "")
        with self.sdxl.placement.using(pipeline.unet, pipeline.controlnet, pipeline.vae):
            return render_batches(
                self.sdxl,
                pipeline,
                prompt,
                image_embeds,
                seeds,
                settings,
                progress,
                control=maps,
                controlnet_conditioning_scale=CONTROL_SCALE,
            )
