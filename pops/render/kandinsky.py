"""The stack's own decoder: a UNet that is conditioned on embeddings, and its MoVQ."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pops.decoder.movq import MoVQ
from pops.decoder.scheduler import DecoderScheduler
from pops.decoder.unet import UNet
from pops.errors import WeightsError
from pops.io.machine.placement import HOST, Placement, compile_steps, in_batches
from pops.render.batches import ArrayRenderer, Counter, check_request, make_generators
from pops.settings.progress import Progress
from pops.settings.rendering import PUBLISHED, DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from pops.stacks.stack import Stack

__all__ = ["KandinskyRenderer"]

log = logging.getLogger(__name__)

# Pixels in one batch: 8 pictures of 512 x 512 fit beside the full-size decoder.
BATCH_PIXELS = 8 * 512 * 512
DECODE_PIXELS = 2 * 512 * 512  # MoVQ works on whole pixels: more would take what the UNet leaves
MOST_IN_A_BATCH = 64
# Where convolutions read the channels of a pixel side by side, and are faster so.
CHANNELS_LAST = ("cpu", "cuda")


class KandinskyRenderer(ArrayRenderer):
    """Renders as diffusers' KandinskyV22Pipeline does, with one generator for each picture.

    Args:
        unet: The UNet, which denoises latents.
        movq: The MoVQ, which turns latents into pixels.
        scheduler: The scheduler of the UNet.
        negative: The embedding (1, D) that guidance leads away from.
        settings: Steps, guidance and size where the caller gives none.
        placement: Where the models run.
        sizes: The sizes that the UNet was trained to draw; empty where it draws any.

    Raises:
        WeightsError: The UNet does not predict what the scheduler needs.
    """

    def __init__(
        self,
        unet: UNet,
        movq: MoVQ,
        scheduler: DecoderScheduler,
        negative: Tensor,
        settings: DecoderSettings = PUBLISHED,
        placement: Placement = HOST,
        sizes: Sequence[int] = (),
    ) -> None:
        by_channels = placement.device.type in CHANNELS_LAST
        self._layout = torch.channels_last if by_channels else torch.preserve_format
        # The types that torch declares for `to` leave this argument out.
        self.unet = unet.to(memory_format=self._layout)  # type: ignore[call-overload]
        self.movq = movq.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._predict, self._to_pixels = self.unet, self.movq
        if placement.compiled:
            self._predict = compile_steps(self._predict)
            self._to_pixels = compile_steps(self._to_pixels)
        needed = unet.config.in_channels * (2 if scheduler.learns_variance else 1)
        if unet.config.out_channels < needed:
            raise WeightsError(
                f"the decoder's UNet predicts {unet.config.out_channels} channels, but its "
                f"scheduler needs {needed}"
            )
        self.scheduler = scheduler
        self.negative = negative
        self.settings = settings
        self.placement = placement
        self.sizes = tuple(sizes)

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the decoder of a stack; its negative is the encoding of an all-zero pixel tensor.

        Args:
            stack: The stack.

        Returns:
            The renderer.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        encoder = stack.image_encoder
        with stack.placement.using(encoder.model):
            negative = encoder.zero_embed()
        return cls(
            stack.unet,
            stack.movq,
            stack.decoder_scheduler,
            negative,
            stack.render_settings,
            stack.placement,
            stack.render_sizes,
        )

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

        Raises:
            UsageError: The size does not fit the decoder, or the steps do not fit its scheduler.
            DeviceMemoryError: The device has too little memory for a single picture.
            ValueError: There is not one seed for each embedding.
        """
        if self.sizes and settings.size not in self.sizes:
            return self._scaled(image_embeds, seeds, settings, progress)
        # The UNet halves the latents too; diffusers rounds to the same multiple.
        multiple, most = self._downsampling() ** 2, self.scheduler.num_train_timesteps
        check_request(image_embeds, seeds, settings, multiple, most)
        latents: list[Tensor] = []

        def draw(rows: slice, done: int, batches: int) -> None:
            count = Counter(progress, settings.steps, done, batches)
            latents.append(self._latents(image_embeds[rows], seeds[rows], settings, count))

        most = min(MOST_IN_A_BATCH, max(1, BATCH_PIXELS // settings.size**2))
        with self.placement.using(self.unet):
            in_batches(len(seeds), most, draw)
        pictures = np.zeros((len(seeds), settings.size, settings.size, 3), dtype=np.float32)
        if latents:
            with self.placement.using(self.movq):
                self._decode(torch.cat(latents), pictures)
        return pictures

    def _scaled(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None,
    ) -> np.ndarray:
        """Draw pictures of a size that the decoder does not know at the nearest that it knows."""
        near = min(self.sizes, key=lambda size: (abs(size - settings.size), size))
        log.warning(
            "rendered at %d pixels, which this decoder was trained to draw, and scaled", near
        )
        drawn = self.render_arrays(image_embeds, seeds, replace(settings, size=near), progress)
        channels_first = torch.from_numpy(drawn).permute(0, 3, 1, 2)
        scaled = F.interpolate(channels_first, [settings.size] * 2, mode="bicubic", antialias=True)
        return scaled.clamp(0, 1).permute(0, 2, 3, 1).contiguous().numpy()

    @torch.inference_mode()
    def _latents(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        count: Counter,
    ) -> Tensor:
        weight = self.unet.conv_in.weight
        device, dtype = weight.device, weight.dtype
        guided = settings.guidance > 1
        embeds = image_embeds.to(device, dtype)
        if guided:
            negative = self.negative.to(device, dtype).expand(len(seeds), -1)
            embeds = torch.cat([negative, embeds])
        condition = self.unet.condition(embeds)
        levels = self.scheduler.timesteps(settings.steps)
        noise = iter(self._noise(seeds, settings.size, levels).to(device).unbind())
        x = next(noise)
        there = torch.tensor(levels).to(device).unbind()
        for t, t_there, after in zip(levels, there, [*levels[1:], -1], strict=True):
            doubled = torch.cat([x, x]) if guided else x
            doubled = doubled.to(dtype, memory_format=self._layout)
            output = self._predict(doubled, t_there, condition).float()
            output = self._guide(output, settings.guidance) if guided else output
            x = self.scheduler.step(output, t, after, x, next(noise) if t > 0 else None)
            count.advance()
        return x

    def _noise(self, seeds: Sequence[int], size: int, levels: Sequence[int]) -> Tensor:
        """Draw all noise (draws, N, C, h, w) at once, so that no step waits for its own."""
        side = size // self._downsampling()
        shape = (1 + sum(t > 0 for t in levels), self.unet.config.in_channels, side, side)
        generators = make_generators(seeds)
        # One draw at a time: drawn together, they would be other numbers.
        draws = [[torch.randn(shape[1:], generator=g) for g in generators] for _ in range(shape[0])]
        return torch.stack([torch.stack(draw) for draw in draws])

    def _guide(self, output: Tensor, scale: float) -> Tensor:
        """Guide the prediction alone; the variance beside it is that of the conditional branch."""
        channels = self.unet.config.in_channels
        uncond, cond = output.chunk(2)
        guided = uncond[:, :channels] + scale * (cond[:, :channels] - uncond[:, :channels])
        return torch.cat([guided, cond[:, channels:]], dim=1)

    @torch.inference_mode()
    def _decode(self, latents: Tensor, pictures: np.ndarray) -> None:
        """Write the pictures (N, size, size, 3) of latents (N, C, h, w)."""
        dtype = self.movq.post_quant_conv.weight.dtype

        def decode(rows: slice, done: int, batches: int) -> None:
            some = latents[rows].to(dtype, memory_format=self._layout)
            image = self._to_pixels(some).float().cpu()
            pictures[rows] = (image * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()

        most = max(1, DECODE_PIXELS // (pictures.shape[1] * pictures.shape[2]))
        in_batches(len(latents), most, decode)

    def _downsampling(self) -> int:
        return int(2 ** (len(self.movq.config.block_out_channels) - 1))
