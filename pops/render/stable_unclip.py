"""The decoder of stacks of OpenCLIP ViT-H/14 or CLIP ViT-L/14: Stable unCLIP.

It is Stable Diffusion 2.1, conditioned on the embedding of a picture and, if one is given, a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, SchedulerMixin, StableUnCLIPImg2ImgPipeline
from diffusers import UNet2DConditionModel as UNet
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from pops.errors import UsageError, WeightsError
from pops.io.loading import check_code, check_config, quietly, reading
from pops.io.machine.placement import Placement, in_batches
from pops.render.batches import ArrayRenderer, Counter, check_request, make_generators
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from pops.stacks.stack import Stack

__all__ = ["StableUnCLIPRenderer"]

BATCH_PIXELS = 4 * 768 * 768
MODELS = {
    "image_normalizer": StableUnCLIPImageNormalizer,
    "text_encoder": CLIPTextModel,
    "unet": UNet,
    "vae": AutoencoderKL,
}


class _Pipeline(StableUnCLIPImg2ImgPipeline):
    """diffusers' pipeline for embeddings that are made already: it has no image encoder."""

    @property
    def _execution_device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

    def _encode_image(
        self,
        image: None,
        device: torch.device,
        batch_size: int,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        noise_level: Tensor,
        generator: list[torch.Generator],
        image_embeds: Tensor,
    ) -> Tensor:
        # A tensor of one level is made a list of levels by diffusers, which torch warns of.
        made: Tensor = self.noise_image_embeddings(image_embeds, int(noise_level), None, generator)
        if do_classifier_free_guidance:
            made = torch.cat([torch.zeros_like(made), made])
        return made


class StableUnCLIPRenderer(ArrayRenderer):
    """Renders as diffusers' StableUnCLIPImg2ImgPipeline does, with a generator for each picture.

    Args:
        pipeline: The pipeline, without its image encoder.
        settings: Steps, guidance and size where the caller gives none.
        placement: Where the models run.
    """

    takes = ("prompt",)

    def __init__(
        self, pipeline: _Pipeline, settings: DecoderSettings, placement: Placement
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.placement = placement
        self._prompts: dict[str, tuple[Tensor, Tensor]] = {}

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer from the decoder of a stack, a folder of the pipeline in diffusers.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            UsageError: The decoder is another, or takes embeddings of another length.
            WeightsError: A part is missing or damaged.
        """
        folder = stack.decoder_folder
        if not (folder / "image_normalizer").is_dir():
            raise UsageError(
                f"the decoder of {stack.name} is not a Stable unCLIP: use --renderer "
                "kandinsky, the stack's own decoder"
            )
        models = {name: stack.model(kind, folder / name) for name, kind in MODELS.items()}
        own, taken = stack.prior_config.embedding_dim, models["image_normalizer"].mean.shape[-1]
        if taken != own:
            raise UsageError(
                f"{folder} takes embeddings of {taken} numbers, but those of {stack.name} have "
                f"{own}: use --renderer kandinsky"
            )
        with reading(folder), quietly():
            pipeline = _Pipeline(
                feature_extractor=None,
                image_encoder=None,
                image_noising_scheduler=_scheduler(folder / "image_noising_scheduler"),
                scheduler=_scheduler(folder / "scheduler"),
                tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
                **models,
            )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.vae.enable_slicing()  # decoding is what takes most memory
        return cls(pipeline, stack.render_settings, stack.placement)

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
            settings: Steps, guidance, size and prompt.
            progress: Called with the name of the work, the steps done, and all steps.
            depth_of: Not used.

        Returns:
            Pictures (N, size, size, 3) float32 in [0, 1].

        Raises:
            UsageError: The size or the steps do not fit the pipeline.
            ValueError: There is not one seed for each embedding.
        """
        pipeline, size = self.pipeline, settings.size
        most = pipeline.scheduler.config.num_train_timesteps
        check_request(image_embeds, seeds, settings, pipeline.vae_scale_factor, most)
        made = np.zeros((len(seeds), size, size, 3), dtype=np.float32)
        prompt = self._prompt(settings.prompt)
        pipeline.scheduler.set_timesteps(settings.steps)
        steps = len(pipeline.scheduler.timesteps)  # some schedulers take one more than asked for

        def draw(rows: slice, done: int, batches: int) -> None:
            count = Counter(progress, steps, done, batches)
            embeds = image_embeds[rows].to(pipeline.unet.device, pipeline.unet.dtype)
            made[rows] = self._render(embeds, seeds[rows], settings, count, prompt)

        with self.placement.using(pipeline.unet, pipeline.vae, pipeline.image_normalizer):
            in_batches(len(seeds), max(1, BATCH_PIXELS // size**2), draw)
        return made

    def _render(
        self,
        embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        count: Counter,
        prompt: tuple[Tensor, Tensor],
    ) -> np.ndarray:
        words, none = (one.to(embeds).repeat(len(embeds), 1, 1) for one in prompt)
        array: np.ndarray = self.pipeline(
            image_embeds=embeds,
            prompt_embeds=words,
            negative_prompt_embeds=none,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            height=settings.size,
            width=settings.size,
            generator=make_generators(seeds),
            output_type="np",
            callback=count.on_step,
        ).images
        return array

    @torch.inference_mode()
    def _prompt(self, text: str) -> tuple[Tensor, Tensor]:
        """Encode a prompt, and the empty one that guidance leads away from, each (1, L, D)."""
        if text not in self._prompts:
            encoder = self.pipeline.text_encoder
            with self.placement.using(encoder):
                words, none = self.pipeline.encode_prompt(
                    text, encoder.device, 1, True, negative_prompt=""
                )
            self._prompts[text] = words.cpu(), none.cpu()
        return self._prompts[text]


def _scheduler(folder: Path) -> Any:
    """Load a scheduler of the class that its config names."""
    path = folder / "scheduler_config.json"
    check_config(path)
    config = check_code(path)
    kind: Any = getattr(diffusers, str(config.get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise WeightsError(f"{path}: {config.get('_class_name')!r} is not a scheduler of diffusers")
    with reading(path):
        return kind.from_config(config)  # type: ignore[attr-defined]
