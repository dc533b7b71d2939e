"""Stages that diffusion models answer: text to picture, depth to picture, inpainting.

Each stage loads a folder in the hub's layout and answers batches. Every request has its own seed,
and its noise is drawn on the CPU, so that a seed means the same in any batch and on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pops.datagen.stages import Depth2Image, Inpaint, Picture, Text2Image
from pops.io.loading import can_load_cheaply, load_model, load_part, quietly, reading
from pops.io.machine.placement import Placement

__all__ = ["ControlNetUnion", "DepthDiffusion", "Inpainter", "Sampling", "TextToImage"]

DEPTH_MODE = 1  # number of the depth condition in ControlNet-union
INPAINT_STRENGTH = 0.99  # at 1 the pipeline would not see the picture around the hole


@dataclass(frozen=True)
class Sampling:
    """How a pipeline is sampled."""

    steps: int
    guidance: float
    size: int  # pixels of a side, as the model was trained


def _load(kind: Any, folder: Path, placement: Placement, **parts: Any) -> Any:
    """Load a diffusers pipeline, with its half-precision weights where there are any.

    Raises:
        WeightsError: A part is missing or damaged.
    """
    half = any(folder.glob("*/*.fp16.safetensors"))
    with reading(folder), quietly(), _without_bars():
        pipeline = kind.from_pretrained(
            folder,
            **parts,
            dtype=placement.dtype,
            variant="fp16" if half else None,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=can_load_cheaply(),
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(placement.device)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide diffusers' progress bar over the parts of a pipeline inside the block."""
    from diffusers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _seeded(asked: Sequence[Any]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(request.seed) for request in asked]


def _draw(pipeline: Any, **asked: Any) -> Sequence[Image.Image]:
    """Run a pipeline, without the advice that diffusers gives at every call."""
    with quietly():
        images: Sequence[Image.Image] = pipeline(**asked).images
    return images


def _pictures(images: Sequence[Image.Image], size: tuple[int, int]) -> list[Picture]:
    """Turn the images of a pipeline into pictures of (width, height)."""
    return [
        Picture(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS))
        for image in images
    ]


@dataclass(frozen=True)
class _Sampled:
    """A pipeline with the settings of its sampling."""

    pipeline: Any
    sampling: Sampling


class TextToImage(_Sampled):
    """Any text-to-picture pipeline that takes prompts, steps, guidance and a size."""

    @classmethod
    def load(cls, folder: Path, placement: Placement, sampling: Sampling) -> TextToImage:
        """Load the pipeline.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device and the number format.
            sampling: How it is sampled.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from diffusers import DiffusionPipeline

        return cls(_load(DiffusionPipeline, folder, placement), sampling)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Text2Image]) -> list[Picture]:
        size = self.sampling.size
        images = _draw(
            self.pipeline,
            prompt=[request.prompt for request in asked],
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance,
            height=size,
            width=size,
            generator=_seeded(asked),
        )
        return _pictures(images, (size, size))


class DepthDiffusion(_Sampled):
    """Stable Diffusion 2 conditioned on the depth of a picture."""

    @classmethod
    def load(cls, folder: Path, placement: Placement, sampling: Sampling) -> DepthDiffusion:
        """Load the pipeline part by part: its index names a class that transformers has dropped.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device and the number format.
            sampling: How it is sampled.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from diffusers import (
            AutoencoderKL,
            PNDMScheduler,
            StableDiffusionDepth2ImgPipeline,
            UNet2DConditionModel,
        )
        from transformers import (
            CLIPTextModel,
            CLIPTokenizer,
            DPTForDepthEstimation,
            DPTImageProcessorPil,
        )

        kinds = {
            "unet": UNet2DConditionModel,
            "vae": AutoencoderKL,
            "text_encoder": CLIPTextModel,
        }
        where = placement.device, placement.dtype
        models = {name: load_model(kind, folder / name, *where) for name, kind in kinds.items()}
        # In float32: it normalises over batches, which half precision does not bear.
        models["depth_estimator"] = load_model(
            DPTForDepthEstimation, folder / "depth_estimator", placement.device, torch.float32
        )
        with reading(folder), quietly():
            pipeline = StableDiffusionDepth2ImgPipeline(
                **models,
                tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
                scheduler=PNDMScheduler.from_pretrained(folder / "scheduler"),
                feature_extractor=DPTImageProcessorPil.from_pretrained(
                    folder / "feature_extractor"
                ),
            )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.prepare_depth_map = _in_float32(pipeline.prepare_depth_map)
        return cls(pipeline, sampling)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Depth2Image]) -> list[Picture]:
        side = (self.sampling.size, self.sampling.size)
        pictures = [request.picture.image.resize(side) for request in asked]
        images = _draw(
            self.pipeline,
            prompt=[request.prompt for request in asked],
            image=pictures,
            depth_map=torch.cat([self._depth(picture) for picture in pictures]),
            strength=1.0,  # keeps nothing of the old colours
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance,
            generator=_seeded(asked),
        )
        return _pictures(images, asked[0].picture.image.size)

    def _depth(self, picture: Image.Image) -> torch.Tensor:
        """Estimate the depth (1, h, w) in any scale: the pipeline stretches it."""
        model = self.pipeline.depth_estimator
        pixels = self.pipeline.feature_extractor(picture, return_tensors="pt")["pixel_values"]
        depth: torch.Tensor = model(pixels.to(model.device)).predicted_depth
        return depth


def _in_float32(prepare: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Let a pipeline stretch depth maps in float32; one without any depth is flat in the middle.

    In half precision the range of a map may vanish, and the picture with it.
    """

    def prepared(
        image: Any, depth: Any, count: int, guided: bool, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        stretched = prepare(image, depth, count, guided, torch.float32, device)
        return stretched.nan_to_num(0.0).to(dtype)

    return prepared


class ControlNetUnion:
    """SDXL with the union ControlNet, on depth by a depth model."""

    def __init__(self, pipeline: Any, depth: Any, processor: Any, sampling: Sampling) -> None:
        self.pipeline = pipeline
        self.depth = depth
        self.processor = processor
        self.sampling = sampling

    @classmethod
    def load(
        cls, base: Path, control: Path, depth: Path, placement: Placement, sampling: Sampling
    ) -> ControlNetUnion:
        """Load the pipeline and the depth model.

        Args:
            base: The folder of SDXL, in the layout of the hub.
            control: The folder of the ControlNet.
            depth: The folder of the depth model.
            placement: The device and the number format.
            sampling: How the pipeline is sampled.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from diffusers import ControlNetUnionModel, StableDiffusionXLControlNetUnionPipeline
        from transformers import DepthAnythingForDepthEstimation, DPTImageProcessorPil

        controlnet = load_model(ControlNetUnionModel, control, placement.device, placement.dtype)
        pipeline = _load(
            StableDiffusionXLControlNetUnionPipeline,
            base,
            placement,
            controlnet=controlnet,
            add_watermarker=False,
        )
        model = load_model(DepthAnythingForDepthEstimation, depth, placement.device, torch.float32)
        processor = load_part(DPTImageProcessorPil, depth)
        return cls(pipeline, model, processor, sampling)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Depth2Image]) -> list[Picture]:
        size = self.sampling.size
        maps = [self._map(request.picture.image, size) for request in asked]
        images = _draw(
            self.pipeline,
            prompt=[request.prompt for request in asked],
            control_image=[torch.stack(maps)],
            control_mode=[DEPTH_MODE],
            height=size,
            width=size,
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance,
            generator=_seeded(asked),
        )
        return _pictures(images, asked[0].picture.image.size)

    def _map(self, image: Image.Image, size: int) -> torch.Tensor:
        """Estimate the depth (3, size, size) from 0, the farthest, to 1, the nearest."""
        pixels = self.processor(image, return_tensors="pt")["pixel_values"]
        depth = self.depth(pixels.to(self.depth.device)).predicted_depth  # (1, h, w)
        depth = torch.nn.functional.interpolate(depth[:, None], (size, size), mode="bicubic")[0]
        low, high = depth.amin(), depth.amax()
        return ((depth - low) / (high - low).clamp(min=1e-6)).cpu().expand(3, -1, -1)


class Inpainter(_Sampled):
    """SDXL inpainting."""

    @classmethod
    def load(cls, folder: Path, placement: Placement, sampling: Sampling) -> Inpainter:
        """Load the pipeline.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device and the number format.
            sampling: How it is sampled.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from diffusers import StableDiffusionXLInpaintPipeline

        return cls(
            _load(StableDiffusionXLInpaintPipeline, folder, placement, add_watermarker=False),
            sampling,
        )

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Inpaint]) -> list[Picture]:
        size = self.sampling.size
        images = _draw(
            self.pipeline,
            prompt=[request.prompt for request in asked],
            image=[request.picture.image.resize((size, size)) for request in asked],
            mask_image=[_hole(request.mask, size) for request in asked],
            strength=INPAINT_STRENGTH,
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance,
            height=size,
            width=size,
            generator=_seeded(asked),
        )
        return _pictures(images, asked[0].picture.image.size)


def _hole(mask: np.ndarray, size: int) -> Image.Image:
    white = Image.fromarray(mask.astype(np.uint8) * 255)
    return white.resize((size, size), Image.Resampling.NEAREST)
