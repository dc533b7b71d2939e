"""Models of the hub that look at pictures and read sentences, each a stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pops.errors import UsageError, WeightsError
from pops.evaluation.stages import (
    Describe,
    EstimateDepth,
    Look,
    Read,
    See,
    Seen,
    Understand,
)
from pops.io.formats.schema import read_json
from pops.io.loading import load_model, load_part, quietly
from pops.io.machine.placement import Placement

__all__ = ["Captions", "Clip", "Depth", "Features", "Sentences"]

CAPTION_TOKENS = 30


def _pixels(processor: Any, asked: Sequence[Any], model: Any) -> Tensor:
    pictures = [request.picture.convert("RGB") for request in asked]
    pixels: Tensor = processor(pictures, return_tensors="pt")["pixel_values"]
    return pixels.to(device=model.device, dtype=model.dtype)


class Clip:
    """CLIP, for pictures and texts."""

    def __init__(self, vision: Any, text: Any, processor: Any, tokenizer: Any) -> None:
        self.vision = vision
        self.text = text
        self.processor = processor
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Clip:
        """Load both encoders in float32.

        Args:
            folder: Their folder, in the layout of the hub.
            placement: The device.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from transformers import (
            CLIPImageProcessorPil,
            CLIPTextModelWithProjection,
            CLIPTokenizer,
            CLIPVisionModelWithProjection,
        )

        vision, text = (
            load_model(kind, folder, placement.device, torch.float32)
            for kind in (CLIPVisionModelWithProjection, CLIPTextModelWithProjection)
        )
        processor = load_part(CLIPImageProcessorPil, folder)
        tokenizer = load_part(CLIPTokenizer, folder)
        return cls(vision, text, processor, tokenizer)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Look | Read]) -> list[np.ndarray]:
        looks = [request for request in asked if isinstance(request, Look)]
        texts = [request.text for request in asked if isinstance(request, Read)]
        seen = iter(self._look(looks) if looks else ())
        read = iter(self._read(texts) if texts else ())
        return [next(seen if isinstance(request, Look) else read) for request in asked]

    def _look(self, asked: Sequence[Look]) -> np.ndarray:
        return _units(self.vision(_pixels(self.processor, asked, self.vision)).image_embeds)

    def _read(self, texts: Sequence[str]) -> np.ndarray:
        most = self.text.config.max_position_embeddings
        words = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt"
        ).to(self.text.device)
        out = self.text(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return _units(out.text_embeds)


class Features:
    """A DINO: features of the whole picture, its class token, and of its patches."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Features:
        """Load the model in float32.

        Args:
            folder: Its folder, in the layout of the hub; DINOv2, with registers or without, or
                DINOv3.
            placement: The device.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from transformers import AutoModel, BitImageProcessorPil

        model = load_model(AutoModel, folder, placement.device, torch.float32)
        processor = load_part(BitImageProcessorPil, folder)
        return cls(model, processor)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[See]) -> list[Seen]:
        out = self.model(pixel_values=_pixels(self.processor, asked, self.model))
        before = 1 + getattr(self.model.config, "num_register_tokens", 0)  # the class token first
        patches = out.last_hidden_state[:, before:].float().cpu().numpy()
        return [Seen(*one) for one in zip(_units(out.pooler_output), patches, strict=True)]


class Depth:
    """Depth Anything."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Depth:
        """Load the model in float32.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from transformers import DepthAnythingForDepthEstimation, DPTImageProcessorPil

        model = load_model(DepthAnythingForDepthEstimation, folder, placement.device, torch.float32)
        processor = load_part(DPTImageProcessorPil, folder)
        return cls(model, processor)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[EstimateDepth]) -> list[np.ndarray]:
        # One by one: the processor keeps the aspect ratio, so that sizes differ.
        return [
            self.model(_pixels(self.processor, [one], self.model)).predicted_depth[0].cpu().numpy()
            for one in asked
        ]


class Captions:
    """BLIP-2, which captions pictures."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Captions:
        """Load the model in the number format of the placement.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device and the number format.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from transformers import (
            AutoTokenizer,
            Blip2ForConditionalGeneration,
            BlipImageProcessorPil,
        )

        model = load_model(Blip2ForConditionalGeneration, folder, placement.device, placement.dtype)
        processor = load_part(BlipImageProcessorPil, folder)
        tokenizer = load_part(AutoTokenizer, folder)
        return cls(model, processor, tokenizer)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Describe]) -> list[str]:
        with quietly():
            tokens = self.model.generate(
                pixel_values=_pixels(self.processor, asked, self.model),
                do_sample=False,
                max_new_tokens=CAPTION_TOKENS,
            )
        captions = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(caption.split()) for caption in captions]


class Sentences:
    """A sentence encoder: the mean of the states of all words, as sentence-transformers does."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Sentences:
        """Load the model in float32.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device.

        Returns:
            The stage.

        Raises:
            UsageError: The model makes something else of its words than their mean.
            WeightsError: A part is missing or damaged.
        """
        from transformers import AutoModel, AutoTokenizer

        _check_pooling(folder)
        model = load_model(AutoModel, folder, placement.device, torch.float32)
        tokenizer = load_part(AutoTokenizer, folder)
        return cls(model, tokenizer)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Understand]) -> list[np.ndarray]:
        words = self.tokenizer(
            [request.text for request in asked],
            padding=True,
            truncation=True,
            max_length=self.model.config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.model.device)
        states = self.model(**words).last_hidden_state
        there = words["attention_mask"][..., None].float()
        return list(_units((states * there).sum(1) / there.sum(1)))


def _check_pooling(folder: Path) -> None:
    """Refuse a model of sentence-transformers that makes something else of its words."""
    told = folder / "1_Pooling" / "config.json"
    pooling = read_json(told, dict[str, Any], WeightsError) if told.is_file() else {}
    modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value]
    if (
        modes not in ([], ["pooling_mode_mean_tokens"])
        or pooling.get("pooling_mode", "mean") != "mean"
    ):
        raise UsageError(
            f"--models sentence={folder} does not take the mean of its words, as its "
            "1_Pooling/config.json says: name a model that does"
        )


def _units(rows: Tensor) -> np.ndarray:
    """Scale vectors (N, D) to length 1."""
    return F.normalize(rows.float(), dim=-1).cpu().numpy()
