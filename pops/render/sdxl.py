"""SDXL that is conditioned on image embeddings by an IP-Adapter: the part that renderers share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionXLControlNetPipeline, StableDiffusionXLPipeline
from torch import Tensor

from pops.io.machine.placement import Placement, in_batches
from pops.render.batches import Counter, check_request, make_generators
from pops.settings.progress import Progress
from pops.settings.rendering import PRESETS, DecoderSettings

__all__ = [
    "OPTIONS",
    "SDXL",
    "SETTINGS",
    "UNWANTED",
    "ControlNetPipeline",
    "Pipeline",
    "adapter_keywords",
    "render_batches",
]

SETTINGS = DecoderSettings(steps=50, guidance=5.0, size=1024)
OPTIONS = ("preset", "prompt", "ip_adapter_scale")  # that renderers with the IP-Adapter take
SIZE_MULTIPLE = 8  # of the pipelines, and of the ControlNet's picture
BATCH_PIXELS = 4 * 1024 * 1024

# The published scripts lead the IP-Adapter away from these words, and the depth renderer from none.
UNWANTED = "deformed, ugly, wrong proportion, low res, bad anatomy, worst quality, low quality"


class _OneEmbeddingEach:
    """Give embedding i to picture i.

    diffusers repeats the embeddings that it is given for every prompt, so that a batch of them
    would be as many images for each prompt.
    """

    def prepare_ip_adapter_image_embeds(
        self,
        ip_adapter_image: None,
        ip_adapter_image_embeds: Sequence[Tensor],
        device: torch.device,
        *_: object,
    ) -> list[Tensor]:
        return [embeds.to(device) for embeds in ip_adapter_image_embeds]


class Pipeline(_OneEmbeddingEach, StableDiffusionXLPipeline):
    """diffusers' SDXL pipeline for batches of image embeddings."""


class ControlNetPipeline(_OneEmbeddingEach, StableDiffusionXLControlNetPipeline):
    """diffusers' SDXL ControlNet pipeline for batches of image embeddings."""


@dataclass(frozen=True)
class EncodedPrompt:
    """The encoding of a prompt and of its negative prompt, each for one picture."""

    embeds: Tensor
    negative: Tensor
    pooled: Tensor
    negative_pooled: Tensor

    def keywords(self, count: int) -> dict[str, Tensor]:
        """Give the encodings as the pipelines take them.

        Args:
            count: The number of pictures.

        Returns:
            Keywords of a pipeline.
        """
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds")
        values = (self.embeds, self.negative, self.pooled, self.negative_pooled)
        every = zip((*names, "negative_pooled_prompt_embeds"), values, strict=True)
        return {name: value.repeat_interleave(count, dim=0) for name, value in every}


class SDXL:
    """SDXL's pipeline, which renderers share, and its text encoders, which wait beside it.

    Args:
        pipeline: The pipeline, whose text encoders are taken out of it.
        placement: Where the models run.
    """

    def __init__(self, pipeline: Pipeline, placement: Placement) -> None:
        self.pipeline = pipeline
        self.placement = placement
        names = ("text_encoder", "text_encoder_2")
        self.encoders = {name: getattr(pipeline, name).to("cpu") for name in names}
        pipeline.register_modules(**dict.fromkeys(names))
        self.scheduler = pipeline.scheduler
        self._known: dict[tuple[str, str], EncodedPrompt] = {}

    @property
    def has_adapter(self) -> bool:
        """Whether an IP-Adapter is in the UNet."""
        return self.pipeline.unet.encoder_hid_proj is not None

    def prompt(self, text: str, unwanted: str) -> EncodedPrompt:
        """Encode a prompt, and keep it; the text encoders are on the device meanwhile.

        Args:
            text: The prompt.
            unwanted: The negative prompt.

        Returns:
            Their encoding.
        """
        if (text, unwanted) not in self._known:
            copied = replace(self.placement, offload=self.placement.device.type != "cpu")
            with copied.using(*self.encoders.values()):
                self.pipeline.register_modules(**self.encoders)
                try:
                    encoded = _encode(self.pipeline, text, unwanted, self.placement)
                finally:
                    self.pipeline.register_modules(**dict.fromkeys(self.encoders))
            self._known[text, unwanted] = encoded
        return self._known[text, unwanted]

    @contextmanager
    def set_for(
        self, pipeline: Pipeline | ControlNetPipeline, settings: DecoderSettings
    ) -> Iterator[None]:
        """Have the scheduler of a preset and the scale of the adapter inside the block.

        Args:
            pipeline: This pipeline, or another over its UNet.
            settings: The settings that name them.

        Yields:
            Nothing.
        """
        if self.has_adapter:
            self.pipeline.set_ip_adapter_scale(settings.ip_adapter_scale)
        if settings.preset is not None:
            few = PRESETS[settings.preset]
            kind = getattr(diffusers, few.scheduler)
            pipeline.scheduler = kind.from_config(self.scheduler.config, **few.options)
        try:
            yield
        finally:
            pipeline.scheduler = self.scheduler


@torch.inference_mode()
def _encode(pipeline: Pipeline, text: str, unwanted: str, placement: Placement) -> EncodedPrompt:
    encoded = pipeline.encode_prompt(prompt=text, negative_prompt=unwanted, device=placement.device)
    return EncodedPrompt(*encoded)


Conditioned = Callable[[Tensor], dict[str, Any]]  # (n, D) -> keywords of a pipeline


def render_batches(
    sdxl: SDXL,
    pipeline: Pipeline | ControlNetPipeline,
    prompt: EncodedPrompt,
    image_embeds: Tensor,
    seeds: Sequence[int],
    settings: DecoderSettings,
    progress: Progress | None = None,
    *,
    condition: Conditioned | None = None,
    control: Tensor | None = None,
    **options: Any,
) -> np.ndarray:
    """Render every embedding with its seed, in batches that halve where memory is short.

    Args:
        sdxl: The shared SDXL.
        pipeline: Its pipeline, or another over its UNet, whose models are on the device.
        prompt: The encoded prompt.
        image_embeds: Un-normalised embeddings (N, D).
        seeds: The seed of each picture.
        settings: Steps, guidance and size, preset and scale.
        progress: Called with the name of the work, the steps done, and all steps.
        condition: Makes the keywords by which the pipeline sees embeddings; None: by an IP-Adapter.
        control: The ControlNet's pictures (N, 3, size, size), if there is one.
        options: Further keywords of the pipeline.

    Returns:
        Pictures (N, size, size, 3) float32 in [0, 1].

    Raises:
        UsageError: The size or the steps do not fit the pipeline.
        ValueError: There is not one seed for each embedding.
    """
    most = pipeline.scheduler.config.num_train_timesteps
    check_request(image_embeds, seeds, settings, SIZE_MULTIPLE, most)
    made = np.zeros((len(seeds), settings.size, settings.size, 3), dtype=np.float32)

    def draw(rows: slice, done: int, batches: int) -> None:
        count = Counter(progress, settings.steps, done, batches)
        embeds = image_embeds[rows].to(pipeline.device, pipeline.unet.dtype)
        seen = condition(embeds) if condition else adapter_keywords(embeds, settings.guidance)
        given = prompt.keywords(len(embeds)) | seen | options
        if control is not None:
            given["image"] = control[rows]
        made[rows] = _render(pipeline, seeds[rows], settings, count, given)

    with sdxl.set_for(pipeline, settings):
        in_batches(len(seeds), max(1, BATCH_PIXELS // settings.size**2), draw)
    return made


def adapter_keywords(embeds: Tensor, guidance: float) -> dict[str, Any]:
    """Give embeddings as a pipeline with an IP-Adapter takes them.

    Args:
        embeds: Un-normalised embeddings (n, D).
        guidance: The scale of guidance.

    Returns:
        A keyword of the pipeline.
    """
    embeds = embeds[:, None]  # (n, 1 image, D)
    if guidance > 1:  # the negative ones come first
        embeds = torch.cat([torch.zeros_like(embeds), embeds])
    return {"ip_adapter_image_embeds": [embeds]}


def _render(
    pipeline: Pipeline | ControlNetPipeline,
    seeds: Sequence[int],
    settings: DecoderSettings,
    count: Counter,
    given: dict[str, Any],
) -> np.ndarray:
    with warnings.catch_warnings():
        # diffusers' own way to decode in float32 what float16 cannot hold.
        warnings.filterwarnings("ignore", ".*upcast_vae.*", FutureWarning)
        array: np.ndarray = pipeline(
            **given,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            height=settings.size,
            width=settings.size,
            generator=make_generators(seeds),
            output_type="np",
            callback_on_step_end=count.on_step,
        ).images
    return array
