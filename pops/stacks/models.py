"""The frozen models of a stack, each loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from pops.decoder.layers import share_layers
from pops.decoder.movq import MoVQ, MoVQConfig
from pops.decoder.scheduler import DecoderScheduler
from pops.decoder.unet import UNet, UNetConfig
from pops.errors import WeightsError
from pops.io.formats.schema import RenderFile, read_json
from pops.io.formats.tensors import check_finite
from pops.io.hub.repositories import PART_FILES
from pops.io.hub.snapshots import fetch, is_repository
from pops.io.loading import (
    load_model,
    load_part,
    quietly,
    read_weights,
    reading,
)
from pops.io.machine.placement import HOST, Placement
from pops.io.names import expand_home
from pops.operators import check_state_dict
from pops.prior.config import PriorConfig
from pops.prior.int8 import round_to_int8
from pops.prior.model import read_prior_config
from pops.prior.schedule import Schedule, read_schedule
from pops.settings.rendering import DecoderSettings
from pops.stacks.clip import ImageEncoder, TextEncoder, check_processor, check_tokenizer
from pops.stacks.known import KnownWords, read_known
from pops.stacks.spec import PRIOR_CONFIGS, PRIOR_WEIGHTS, StackSpec
from pops.stacks.untrained import is_untrained, read_stats, untrained_config
from pops.stacks.vision import ImageProcessor, VisionConfig, VisionEncoder

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel

__all__ = ["StackModels"]

OLD_BUFFERS = "position_ids"  # the end of the name of what old files hold beside weights
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class StackModels:
    """The frozen models of a stack, each loaded when first used.

    Every model raises WeightsError where its files are missing, damaged, or of another kind.

    Attributes:
        spec: Where the parts are.
        placement: Where and in which number format they run.
    """

    spec: StackSpec
    placement: Placement

    @property
    def name(self) -> str:
        """The name of the stack."""
        return self.spec.name

    @property
    def device(self) -> torch.device:
        """The device where its models run."""
        return self.placement.device

    @cached_property
    def prior_folder(self) -> Path:
        """The local folder of encoders, base prior and its scheduler."""
        return self.folder("prior")

    @cached_property
    def decoder_folder(self) -> Path:
        """The local folder of the decoder."""
        return self.folder("decoder")

    @cached_property
    def prior_config(self) -> PriorConfig:
        """The sizes of the prior."""
        if self.spec.prior in PRIOR_CONFIGS and not Path(self.spec.prior).is_dir():
            return PRIOR_CONFIGS[self.spec.prior]
        if is_untrained(self.prior_folder):
            return untrained_config(self.prior_folder)
        return read_prior_config(self.prior_folder / "prior")

    @cached_property
    def known_words(self) -> KnownWords | None:
        """The words that its text encoder was trained on; None where the stack does not say."""
        return read_known(self.prior_folder)

    @cached_property
    def schedule(self) -> Schedule:
        """The noise schedule of the prior; the usual one where the prior is still to be trained."""
        if is_untrained(self.prior_folder) and not (self.prior_folder / "scheduler").exists():
            return Schedule()
        return read_schedule(self.prior_folder / "scheduler")

    @cached_property
    def render_settings(self) -> DecoderSettings:
        """The decoder's own `render.json`, or the published 50 steps, guidance 4, 512 pixels."""
        own = self._render_file
        return DecoderSettings(own.steps, own.guidance, own.size)

    @property
    def render_sizes(self) -> tuple[int, ...]:
        """The sizes that the decoder was trained to draw; empty where it draws any."""
        return self._render_file.sizes

    @property
    def own_renderer(self) -> str:
        """The renderer whose models the decoder holds."""
        return self._render_file.renderer

    @cached_property
    def _render_file(self) -> RenderFile:
        path = self.decoder_folder / "render.json"
        return read_json(path, RenderFile, WeightsError) if path.is_file() else RenderFile()

    @cached_property
    def image_encoder(self) -> ImageEncoder:
        """The CLIP image encoder with its processor."""
        folder = self.prior_folder / "image_encoder"
        model = self._own_model(
            folder,
            lambda: VisionEncoder(VisionConfig.read(folder)),
            lambda key: key.endswith(OLD_BUFFERS),
        )
        folder = self.prior_folder / "image_processor"
        processor = ImageProcessor.read(folder)
        with reading(folder):
            check_processor(processor, model.config.image_size)
        return ImageEncoder(model, processor)

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """The CLIP text encoder with its tokenizer."""
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        model = self.model(CLIPTextModelWithProjection, self.prior_folder / "text_encoder")
        folder = self.prior_folder / "tokenizer"
        with reading(folder):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            check_tokenizer(tokenizer, model.config.vocab_size)
        return TextEncoder(model, tokenizer)

    @cached_property
    def unet(self) -> UNet:
        """The network of the decoder."""
        folder = self.decoder_folder / "unet"
        return self._own_model(folder, lambda: UNet(UNetConfig.read(folder)))

    @cached_property
    def movq(self) -> MoVQ:
        """The part of the decoder that turns latents into pictures."""
        folder = self.decoder_folder / "movq"
        return self._own_model(
            folder,
            lambda: MoVQ(MoVQConfig.read(folder)),
            lambda key: key.startswith(MoVQ.ENCODER),
        )

    @cached_property
    def decoder_scheduler(self) -> DecoderScheduler:
        """The noise schedule of the decoder."""
        return DecoderScheduler.read(self.decoder_folder / "scheduler")

    def diffusers_decoder(self) -> tuple[UNet2DConditionModel, DDPMScheduler, VQModel]:
        """Give the decoder to a pipeline of diffusers.

        Returns:
            A UNet that shares the layers of `unet`, its scheduler, and the whole MoVQ.

        Raises:
            WeightsError: A part is missing, damaged, or of another kind.
        """
        from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel

        folder = self.decoder_folder
        config = read_json(folder / "unet" / "config.json", dict[str, Any], WeightsError)
        with quietly(), torch.device("meta"):
            unet = UNet2DConditionModel.from_config(config).eval()
        share_layers(self.unet, unet)
        movq = self.model(VQModel, folder / "movq")
        return unet, load_part(DDPMScheduler, folder / "scheduler"), movq

    @cached_property
    def clip_stats(self) -> dict[str, Tensor]:
        """`clip_mean` and `clip_std` (1, D) float32, read from the base prior without the rest."""
        if is_untrained(self.prior_folder):
            return read_stats(self.prior_folder, self.prior_config.embedding_dim)
        path = self.prior_folder / "prior" / PRIOR_WEIGHTS
        with reading(path), safe_open(path, framework="pt") as file:
            stats = {key: file.get_tensor(key).float() for key in ("clip_mean", "clip_std")}
        check_finite(stats, str(path), WeightsError)
        return stats

    def folder(self, part: str) -> Path:
        """Find the folder of a part, downloaded first where it is a repository.

        Args:
            part: The name of a field of `StackSpec`.

        Returns:
            The local folder.

        Raises:
            WeightsError: The folder is missing, or cannot be downloaded.
        """
        place = getattr(self.spec, part)
        folder = expand_home(place)
        if folder.is_dir():
            return folder
        if is_repository(place):
            return fetch(place, PART_FILES[part])
        raise WeightsError(
            f"{folder} is missing, so the stack {self.name} is not whole: fetch or build it again"
        )

    def model(self, kind: Any, folder: Path) -> Any:
        """Load a frozen model in the number format of the stack.

        Args:
            kind: A class of transformers or diffusers.
            folder: Its config and weights.

        Returns:
            The model, at rest.

        Raises:
            WeightsError: The folder is missing, damaged, or does not fit the class.
        """
        return self.at_rest(load_model(kind, folder, HOST.device, self.placement.dtype))

    def _own_model(
        self,
        folder: Path,
        make: Callable[[], Model],
        passed_over: Callable[[str], bool] = lambda key: False,
    ) -> Model:
        """Load a frozen model of a class of pops, and put it where it waits.

        Tensors of names that are `passed_over` are in the file, but not in the model.
        """
        state = read_weights(folder, self.placement.dtype)
        with torch.device("meta"):
            model = make()
        own = {key: value for key, value in state.items() if not passed_over(key)}
        check_state_dict(own, model.state_dict(), str(folder))
        model.load_state_dict(own, assign=True)
        return self.at_rest(model.requires_grad_(False).eval())

    def at_rest(self, model: Model) -> Model:
        """Put a frozen model where it waits; for weights of 8 bits it is rounded before.

        Args:
            model: The model, in the host's memory, in the number format that it computes in.

        Returns:
            The model itself.
        """
        if self.placement.int8:
            round_to_int8(model)
        return model.to(self.placement.rest)
