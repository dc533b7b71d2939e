"""SDXL that is conditioned on image embeddings by an IP-Adapter: the part that renderers share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from pops.errors import UsageError
from pops.io.loading import can_load_cheaply, load_model, quietly, reading
from pops.io.placement import Placement, in_batches
from pops.render.batches import Counter
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

if TYPE_CHECKING:
    from pops.stacks.stack import Stack

__all__ = ["SDXL", "ControlNetPipeline", "Pipeline", "load_sdxl", "render_batches"]

ADAPTER = ("sdxl_models", "ip-adapter_sdxl.bin")
ADAPTER_SCALE = 1.0
EMBEDDING_DIM = 1280  # of CLIP ViT-bigG/14, which the published IP-Adapter was trained on
SETTINGS = DecoderSettings(steps=50, guidance=5.0, size=1024)
SIZE_MULTIPLE = 8  # of the pipelines, and of the ControlNet's picture
BATCH_PIXELS = 4 * 1024 * 1024

PROMPT = ""
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
class Prompt:
    """The encoding of the empty prompt and of its negative prompt, each for one picture."""

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


@dataclass(frozen=True)
class SDXL:
    """The pipeline with its IP-Adapter, without the text encoders, whose work is done."""

    pipeline: Pipeline
    plain: Prompt
    wary: Prompt  # led away from `UNWANTED`
    placement: Placement


def load_sdxl(stack: Stack) -> SDXL:
    """Load SDXL with the IP-Adapter of a stack.

    Args:
        stack: The stack.

    Returns:
        The pipeline and its encoded prompts.

    Raises:
        UsageError: The adapter is for embeddings of another length than the stack's.
        WeightsError: A part is missing, damaged or does not fit.
    """
    if not Path(stack.spec.ip_adapter).is_dir():  # before anything is downloaded
        _check_dim(EMBEDDING_DIM, stack)
    adapter, folder = stack.folder("ip_adapter"), stack.folder("sdxl")
    rest, dtype = stack.placement.rest, stack.placement.dtype
    kinds = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "unet": UNet2DConditionModel,
    }
    models = {name: load_model(kind, folder / name, rest, dtype) for name, kind in kinds.items()}
    with reading(folder), quietly():
        pipeline = Pipeline(
            **models,
            tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
            scheduler=EulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
            feature_extractor=CLIPImageProcessorPil(),  # never used; the loader makes one otherwise
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    _load_adapter(pipeline, adapter)
    (projection,) = pipeline.unet.encoder_hid_proj.image_projection_layers
    _check_dim(projection.image_embeds.in_features, stack)
    pipeline.unet.requires_grad_(False).eval()
    pipeline.vae.enable_slicing()  # decoding at 1024 pixels is what takes most memory
    with stack.placement.using(pipeline.text_encoder, pipeline.text_encoder_2):
        plain, wary = (_encode(pipeline, words, stack.placement) for words in ("", UNWANTED))
    pipeline.register_modules(text_encoder=None, text_encoder_2=None)
    return SDXL(pipeline, plain, wary, stack.placement)


def _load_adapter(pipeline: Pipeline, folder: Path) -> None:
    subfolder, name = ADAPTER
    with reading(folder / subfolder / name), quietly():
        pipeline.load_ip_adapter(
            str(folder),
            subfolder=subfolder,
            weight_name=name,
            image_encoder_folder=None,  # the embeddings are made already
            local_files_only=True,
            low_cpu_mem_usage=can_load_cheaply(),
        )
        pipeline.set_ip_adapter_scale(ADAPTER_SCALE)


def _check_dim(dim: int, stack: Stack) -> None:
    own = stack.prior_config.embedding_dim
    if dim != own:
        raise UsageError(
            f"the IP-Adapter takes embeddings of {dim} numbers, but those of {stack.name} have "
            f"{own}: render them by kandinsky alone, the stack's own decoder"
        )


@torch.inference_mode()
def _encode(pipeline: Pipeline, unwanted: str, placement: Placement) -> Prompt:
    encoded = pipeline.encode_prompt(
        prompt=PROMPT, negative_prompt=unwanted, device=placement.device
    )
    return Prompt(*encoded)


def render_batches(
    pipeline: Pipeline | ControlNetPipeline,
    prompt: Prompt,
    image_embeds: Tensor,
    seeds: Sequence[int],
    settings: DecoderSettings,
    progress: Progress | None = None,
    control: Tensor | None = None,
    **options: Any,
) -> np.ndarray:
    """Render every embedding with its seed, in batches that halve where memory is short.

    Args:
        pipeline: The pipeline, whose models are on the device.
        prompt: The encoded prompt.
        image_embeds: Un-normalised embeddings (N, D).
        seeds: The seed of each picture.
        settings: Steps, guidance and size.
        progress: Called with the name of the work, the steps done, and all steps.
        control: The ControlNet's pictures (N, 3, size, size), if there is one.
        options: Further keywords of the pipeline.

    Returns:
        Pictures (N, size, size, 3) float32 in [0, 1].

    Raises:
        UsageError: The size or the steps do not fit the pipeline.
        ValueError: There is not one seed for each embedding.
    """
    if len(seeds) != len(image_embeds):
        raise ValueError(f"{len(seeds)} seeds for {len(image_embeds)} embeddings")
    _check(pipeline, settings)
    made = np.zeros((len(seeds), settings.size, settings.size, 3), dtype=np.float32)

    def draw(rows: slice, done: int, batches: int) -> None:
        count = Counter(progress, settings.steps, done, batches)
        given = options if control is None else options | {"image": control[rows]}
        made[rows] = _render(
            pipeline, prompt, image_embeds[rows], seeds[rows], settings, count, given
        )

    in_batches(len(seeds), max(1, BATCH_PIXELS // settings.size**2), draw)
    return made


def _render(
    pipeline: Pipeline | ControlNetPipeline,
    prompt: Prompt,
    image_embeds: Tensor,
    seeds: Sequence[int],
    settings: DecoderSettings,
    count: Counter,
    options: dict[str, Any],
) -> np.ndarray:
    embeds = image_embeds[:, None].to(pipeline.device, pipeline.unet.dtype)  # (n, 1 image, D)
    if settings.guidance > 1:  # the negative ones come first
        embeds = torch.cat([torch.zeros_like(embeds), embeds])

    def on_step(*_: object) -> dict[str, Tensor]:
        count.advance()
        return {}

    with warnings.catch_warnings():
        # diffusers' own way to decode in float32 what float16 cannot hold.
        warnings.filterwarnings("ignore", ".*upcast_vae.*", FutureWarning)
        array: np.ndarray = pipeline(
            **prompt.keywords(len(seeds)),
            **options,
            ip_adapter_image_embeds=[embeds],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            height=settings.size,
            width=settings.size,
            # On the CPU, so that a seed means the same on every device.
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
            callback_on_step_end=on_step,
        ).images
    return array


def _check(pipeline: Pipeline | ControlNetPipeline, settings: DecoderSettings) -> None:
    if settings.size < SIZE_MULTIPLE or settings.size % SIZE_MULTIPLE:
        raise UsageError(f"size must be a multiple of {SIZE_MULTIPLE}, not {settings.size}")
    most = pipeline.scheduler.config.num_train_timesteps
    if not 1 <= settings.steps <= most:
        raise UsageError(f"rendering steps must be between 1 and {most}, not {settings.steps}")
