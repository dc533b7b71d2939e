"""The CLIP encoders of a stack: pictures and texts to embeddings, each distinct input once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from pops.errors import UsageError

if TYPE_CHECKING:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

__all__ = ["ImageEncoder", "TextEncoder", "TextEncoding", "picture_pixels"]

BATCH = 32  # pictures in one call of the encoder
REMEMBERED = 4096  # distinct inputs whose encoding is kept
PICTURE_SIZE = (512, 512)  # what the published code resizes to before the image processor


class ImageEncoder:
    """Pictures to un-normalised image embeddings, remembered by content."""

    def __init__(
        self, model: CLIPVisionModelWithProjection, processor: CLIPImageProcessorPil
    ) -> None:
        self.model = model
        self.processor = processor
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Embeddings (N, D) float32 on the CPU of RGB pictures of any size."""
        keys = [_content_key(picture) for picture in pictures]
        new = {k: p for k, p in zip(keys, pictures, strict=True) if k not in self._known}
        embeds = {key: self._known[key] for key in keys if key in self._known}
        todo = list(new.items())
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            encoded = self.encode_pixels(self.pixels([picture for _, picture in batch]))
            embeds |= {key: row for (key, _), row in zip(batch, encoded, strict=True)}
        self._remember(embeds)
        return torch.stack([embeds[key] for key in keys])

    def pixels(self, pictures: Sequence[Image.Image]) -> Tensor:
        """What the encoder sees (N, 3, S, S): aspect ratio not kept, as the published code does."""
        return picture_pixels(self.processor, pictures)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Embeddings (N, D) float32 on the CPU of what `pixels` gives."""
        pixels = pixels.to(device=self.model.device, dtype=self.model.dtype)
        embeds: Tensor = self.model(pixel_values=pixels).image_embeds
        return embeds.float().cpu()

    def zero_embed(self) -> Tensor:
        """The embedding (1, D) of the all-zero pixel tensor: the decoder's negative."""
        size = self.model.config.image_size
        return self.encode_pixels(torch.zeros(1, 3, size, size))

    def _remember(self, embeds: dict[bytes, Tensor]) -> None:
        for key, row in embeds.items():
            self._known[key] = row
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def picture_pixels(processor: CLIPImageProcessorPil, pictures: Sequence[Image.Image]) -> Tensor:
    """`ImageEncoder.pixels` without the encoder: work for processes that do not have one."""
    square = [picture.resize(PICTURE_SIZE) for picture in pictures]
    values: Tensor = processor(square, return_tensors="pt")["pixel_values"]
    return values


@dataclass(frozen=True)
class TextEncoding:
    """One text: its unpadded hidden states, with start and end token, and its embedding."""

    hidden_states: Tensor  # (length, D) float32, on the CPU
    text_embeds: Tensor  # (D,) float32, on the CPU


class TextEncoder:
    """Texts to hidden states and text embeddings."""

    def __init__(self, model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[TextEncoding]:
        """Encodings of texts of any length up to the model's; UsageError for a longer one.

        Padding after the end token changes nothing before it, since attention is causal.
        """
        if not texts:
            return []
        batch = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        limit = self.model.config.max_position_embeddings
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        for text, length in zip(texts, lengths, strict=True):
            if length > limit:
                raise UsageError(f"text of {length} tokens is over {limit}: {text[:40]!r}...")
        out = self.model(input_ids=batch["input_ids"].to(self.model.device))
        hidden, embeds = out.last_hidden_state.float().cpu(), out.text_embeds.float().cpu()
        return [
            TextEncoding(hidden[i, :length].clone(), embeds[i].clone())
            for i, length in enumerate(lengths)
        ]


def _content_key(picture: Image.Image) -> bytes:
    size = f"{picture.mode} {picture.width} {picture.height} ".encode()
    return hashlib.blake2b(size + picture.tobytes(), digest_size=16).digest()
