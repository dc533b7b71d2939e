"""Decoders of Kandinsky 2.2 that start from a picture, change a part of it or keep its depth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    DiffusionPipeline,
    KandinskyV22ControlnetPipeline,
    KandinskyV22Img2ImgPipeline,
    KandinskyV22InpaintPipeline,
    UNet2DConditionModel,
    VQModel,
)
from PIL import Image
from torch import Tensor

from pops.errors import UsageError, WeightsError
from pops.io.loading import check_config, load_part, quietly
from pops.io.machine.placement import Placement, in_batches
from pops.render.batches import ArrayRenderer, Counter, check_request, make_generators
from pops.render.depth import DepthEstimator
from pops.settings.progress import Progress
from pops.settings.rendering import PUBLISHED, DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from pops.stacks.stack import Stack

__all__ = ["Img2ImgRenderer", "InpaintRenderer", "KandinskyDepthRenderer"]

KANDINSKY_DIM = 1280
BATCH_PIXELS = 4 * 512 * 512  # UNet and MoVQ share the memory here


class _Img2ImgPipeline(KandinskyV22Img2ImgPipeline):
    """diffusers' pipeline for a MoVQ of any number of channels, not of four alone."""

    def prepare_latents(self, image: Tensor, timestep: Tensor, *options: Any) -> Tensor:
        *_, generator = options
        noise = torch.cat([torch.randn(1, *image.shape[1:], generator=g) for g in generator])
        noisy: Tensor = self.scheduler.add_noise(image, noise.to(image), timestep)
        return noisy


_Parts = tuple[UNet2DConditionModel, DDPMScheduler, VQModel]  # as the pipelines take them


class _DecoderRenderer(ArrayRenderer):
    """Renders by a pipeline of diffusers, with one generator for each picture.

    Args:
        pipeline: The pipeline, without models that it moves by itself.
        negative: The embedding (1, D) that guidance leads away from.
        settings: Steps, guidance and size where the caller gives none.
        placement: Where the models run.
    """

    step_keyword: ClassVar[str] = "callback_on_step_end"

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        negative: Tensor,
        settings: DecoderSettings,
        placement: Placement,
    ) -> None:
        self.pipeline = pipeline
        self.negative = negative
        self.settings = settings
        self.placement = placement
        pipeline.set_progress_bar_config(disable=True)

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
            depth_of: The picture of each embedding whose depth is kept.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].

        Raises:
            UsageError: A setting does not fit the decoder, or a picture is not given.
            ValueError: There is not one seed for each embedding.
        """
        pipeline, size = self.pipeline, settings.size
        multiple = int(2 ** (len(pipeline.movq.config.block_out_channels) - 1)) ** 2
        most = pipeline.scheduler.config.num_train_timesteps
        check_request(image_embeds, seeds, settings, multiple, most)
        given = self._given(settings, len(seeds), depth_of)
        steps = self._steps(settings)
        made = np.zeros((len(seeds), size, size, 3), dtype=np.float32)

        def draw(rows: slice, done: int, batches: int) -> None:
            count = Counter(progress, steps, done, batches)
            own = {
                name: value[rows].clone() if isinstance(value, Tensor) else value
                for name, value in given.items()
            }
            made[rows] = self._render(image_embeds[rows], seeds[rows], settings, count, own)

        with self.placement.using(pipeline.unet, pipeline.movq):
            in_batches(len(seeds), max(1, BATCH_PIXELS // size**2), draw)
        return made

    def _render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        count: Counter,
        given: dict[str, Any],
    ) -> np.ndarray:
        unet = self.pipeline.unet
        embeds = image_embeds.to(unet.device, unet.dtype)

        array: np.ndarray = self.pipeline(
            image_embeds=embeds,
            negative_image_embeds=self.negative.to(embeds).expand_as(embeds),
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            height=settings.size,
            width=settings.size,
            generator=make_generators(seeds),
            output_type="np",
            **{self.step_keyword: count.on_step},
            **given,
        ).images
        return array

    @abstractmethod
    def _given(
        self, settings: DecoderSettings, count: int, depth_of: Sequence[Image.Image] | None
    ) -> dict[str, Any]:
        """Give further keywords to the pipeline; of a tensor (N, ...) each batch gets its rows."""

    def _steps(self, settings: DecoderSettings) -> int:
        return settings.steps


class Img2ImgRenderer(_DecoderRenderer):
    """Starts from a picture, and changes it towards the embedding; by the stack's own decoder."""

    takes = ("init", "init_strength")

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer of a stack.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        with quietly():
            pipeline = _Img2ImgPipeline(*stack.diffusers_decoder())
        return cls(pipeline, _negative(stack), stack.render_settings, stack.placement)

    def _given(
        self, settings: DecoderSettings, count: int, depth_of: Sequence[Image.Image] | None
    ) -> dict[str, Any]:
        if self._steps(settings) < 1:
            raise UsageError(
                f"--init_strength {settings.init_strength:g} of {settings.steps} steps leaves "
                "no step to take: give more of either"
            )
        pixels = _pixels(settings, "img2img").repeat(count, 1, 1, 1)
        return {"image": pixels, "strength": settings.init_strength}

    def _steps(self, settings: DecoderSettings) -> int:
        return int(settings.steps * settings.init_strength)


class InpaintRenderer(_DecoderRenderer):
    """Changes a part of a picture towards the embedding, and keeps the rest."""

    takes = ("init", "mask")

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer, whose decoder is one of its own.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            UsageError: The decoder takes embeddings of another length than the stack's.
            WeightsError: A part is missing or damaged.
        """
        parts = _load_parts(stack, "inpaint_decoder")
        with quietly():
            pipeline = KandinskyV22InpaintPipeline(*parts)
        pipeline._warn_has_been_called = True  # of a change of the mask's meaning in 2023
        return cls(pipeline, _negative(stack), PUBLISHED, stack.placement)

    def _given(
        self, settings: DecoderSettings, count: int, depth_of: Sequence[Image.Image] | None
    ) -> dict[str, Any]:
        pixels = _pixels(settings, "inpaint")
        if settings.mask is None:
            raise UsageError("inpaint changes a part of a picture: say which with --mask")
        square = settings.mask.convert("L").resize((settings.size, settings.size))
        mask = torch.from_numpy(np.asarray(square, dtype=np.float32) / 255)[None, None]
        return {
            "image": (pixels * 2 - 1).repeat(count, 1, 1, 1),
            "mask_image": (mask > 0.5).float().repeat(count, 1, 1, 1),
        }


class KandinskyDepthRenderer(_DecoderRenderer):
    """Keeps the depth of a picture, by Kandinsky's own decoder with a ControlNet."""

    takes_depth: ClassVar[bool] = True
    step_keyword: ClassVar[str] = "callback"

    def __init__(self, *parts: Any, depth: DepthEstimator) -> None:
        super().__init__(*parts)
        self.depth = depth

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer, whose decoder is one of its own.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            UsageError: The decoder takes embeddings of another length than the stack's.
            WeightsError: A part is missing or damaged.
        """
        parts = _load_parts(stack, "depth_decoder")
        with quietly():
            pipeline = KandinskyV22ControlnetPipeline(*parts)
        depth = stack.shared(DepthEstimator.load)
        return cls(pipeline, _negative(stack), PUBLISHED, stack.placement, depth=depth)

    def _given(
        self, settings: DecoderSettings, count: int, depth_of: Sequence[Image.Image] | None
    ) -> dict[str, Any]:
        pictures = depth_of or []
        if len(pictures) != count:
            raise ValueError(f"{len(pictures)} pictures for {count} embeddings")
        hint = self.depth.maps(pictures, settings.size)
        return {"hint": hint.to(self.pipeline.unet.dtype)}


def _load_parts(stack: Stack, part: str) -> _Parts:
    """Load a decoder that is not the stack's own; it must take the stack's embeddings."""
    own, place = stack.prior_config.embedding_dim, getattr(stack.spec, part)
    if place == getattr(type(stack.spec), part) and own != KANDINSKY_DIM:  # before a download
        raise UsageError(
            f"{place} takes embeddings of {KANDINSKY_DIM} numbers, but those of {stack.name} "
            f"have {own}: put a decoder of its own into the folder {part} of the stack"
        )
    folder = stack.folder(part)
    unet = stack.model(UNet2DConditionModel, folder / "unet")
    if unet.config.encoder_hid_dim != own:
        raise WeightsError(
            f"{folder / 'unet'} takes embeddings of {unet.config.encoder_hid_dim} numbers, but "
            f"those of {stack.name} have {own}: put a decoder for them there"
        )
    check_config(folder / "scheduler" / "scheduler_config.json")
    scheduler = load_part(DDPMScheduler, folder / "scheduler")
    return unet, scheduler, stack.model(VQModel, folder / "movq")


def _negative(stack: Stack) -> Tensor:
    encoder = stack.image_encoder
    with stack.placement.using(encoder.model):
        return encoder.zero_embed()


def _pixels(settings: DecoderSettings, renderer: str) -> Tensor:
    """Prepare the picture to start from (1, 3, size, size) in [0, 1]."""
    if settings.init is None:
        raise UsageError(f"{renderer} starts from a picture: give it with --init")
    square = settings.init.convert("RGB").resize((settings.size,) * 2, Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(square, dtype=np.float32) / 255)
    return pixels.permute(2, 0, 1)[None]
