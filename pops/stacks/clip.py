"""Encode pictures and texts with the CLIP encoders of a stack, each distinct input once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from pops.errors import UsageError

if TYPE_CHECKING:
    from transformers import (
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    from pops.stacks.vision import ImageProcessor, VisionEncoder

__all__ = [
    "ImageEncoder",
    "Processor",
    "TextEncoder",
    "TextEncoding",
    "check_processor",
    "check_tokenizer",
    "picture_pixels",
]

BATCH = 32  # pictures in one call of the encoder
REMEMBERED = 4096  # distinct inputs whose encoding is kept
PICTURE_SIZE = (512, 512)  # what the published code resizes to before the image processor


class Processor(Protocol):
    """Prepares pictures for an image encoder, as those of pops and of transformers do."""

    def __call__(self, pictures: Sequence[Image.Image], /, *, return_tensors: str) -> Any:
        """Prepare pictures.

        Args:
            pictures: N square pictures in RGB.
            return_tensors: The library whose tensors are returned: "pt" for torch.

        Returns:
            Under `pixel_values` normalised pixels (N, 3, S, S).
        """
        ...


class ImageEncoder:
    """Encodes pictures as un-normalised image embeddings, which it remembers by content.

    Args:
        model: An image encoder of pops or of transformers.
        processor: Its image processor.
    """

    def __init__(
        self, model: VisionEncoder | CLIPVisionModelWithProjection, processor: Processor
    ) -> None:
        self.model = model
        self.processor = processor
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Encode pictures.

        Args:
            pictures: N pictures in RGB, of any size.

        Returns:
            Embeddings (N, D) in float32 on the CPU.
        """
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
        """Prepare pictures for the encoder, as the published code does.

        Args:
            pictures: N pictures in RGB; their aspect ratio is not kept.

        Returns:
            Normalised pixels (N, 3, S, S).
        """
        return picture_pixels(self.processor, pictures)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Encode prepared pictures.

        Args:
            pixels: Normalised pixels (N, 3, S, S), as `pixels` gives them.

        Returns:
            Embeddings (N, D) in float32 on the CPU.
        """
        pixels = pixels.to(device=self.model.device, dtype=self.model.dtype)
        embeds: Tensor = self.model(pixel_values=pixels).image_embeds
        return embeds.float().cpu()

    def zero_embed(self) -> Tensor:
        """Encode the all-zero pixel tensor, which is the decoder's negative condition.

        Returns:
            The embedding (1, D) in float32 on the CPU.
        """
        size = self.model.config.image_size
        return self.encode_pixels(torch.zeros(1, 3, size, size))

    def _remember(self, embeds: dict[bytes, Tensor]) -> None:
        for key, row in embeds.items():
            self._known[key] = row
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def picture_pixels(processor: Processor, pictures: Sequence[Image.Image]) -> Tensor:
    """Prepare pictures as `ImageEncoder.pixels` does, in a process that has no encoder.

    Args:
        processor: The image processor of the stack.
        pictures: N pictures in RGB.

    Returns:
        Normalised pixels (N, 3, S, S).
    """
    square = [picture.resize(PICTURE_SIZE) for picture in pictures]
    values: Tensor = processor(square, return_tensors="pt")["pixel_values"]
    return values


def check_processor(processor: ImageProcessor, side: int) -> None:
    """Try an image processor on a small picture.

    Args:
        processor: The image processor.
        side: The pixels of a side that the encoder takes.

    Raises:
        ValueError: It makes something else of pictures.
        Exception: Of almost any kind, where its settings are damaged.
    """
    pixels = picture_pixels(processor, [Image.new("RGB", (8, 8), "gray")])
    if pixels.shape != (1, 3, side, side) or not pixels.isfinite().all():
        raise ValueError(f"it makes {tuple(pixels.shape)} of a picture, not (1, 3, {side}, {side})")


def check_tokenizer(tokenizer: CLIPTokenizer, words: int) -> None:
    """Try a tokenizer on a text.

    Args:
        tokenizer: The tokenizer.
        words: The number of tokens that the encoder knows.

    Raises:
        ValueError: It makes tokens that the encoder does not know.
        Exception: Of almost any kind, where its settings are damaged.
    """
    batch = tokenizer(["a shiny cat", ""], padding=True, return_tensors="pt")
    most = max(len(tokenizer), int(batch["input_ids"].max()) + 1, (tokenizer.pad_token_id or 0) + 1)
    if most > words or batch["attention_mask"].shape != batch["input_ids"].shape:
        raise ValueError(f"it makes {most} kinds of tokens, but the encoder knows only {words}")


@dataclass(frozen=True)
class TextEncoding:
    """The encoding of one text.

    Attributes:
        hidden_states: The unpadded hidden states (length, D), with start and end token.
        text_embeds: The embedding (D,).
    """

    hidden_states: Tensor
    text_embeds: Tensor


class TextEncoder:
    """Encodes texts as hidden states and text embeddings."""

    def __init__(self, model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], *, cut: bool = False) -> list[TextEncoding]:
        """Encode texts.

        Padding after the end token changes nothing before it, since attention is causal.

        Args:
            texts: Texts of any length up to the model's.
            cut: Whether longer texts are cut off there, as those of training data, in place of
                an error.

        Returns:
            The encodings, in float32 on the CPU, in order.

        Raises:
            UsageError: A text has more tokens than the model takes, or broken characters.
        """
        if not texts:
            return []
        for text in texts:
            if any("\ud800" <= letter <= "\udfff" for letter in text):  # of broken UTF-8
                raise UsageError(f"the text {text[:40]!r} holds a broken character: type it anew")
        limit = self.model.config.max_position_embeddings
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=cut,
            max_length=limit if cut else None,
            return_tensors="pt",
        )
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        for text, length in zip(texts, lengths, strict=True):
            if length > limit:
                raise UsageError(
                    f"the text {text[:40]!r}... has {length} tokens, but the encoder takes "
                    f"{limit}: shorten it"
                )
        out = self.model(input_ids=batch["input_ids"].to(self.model.device))
        hidden, embeds = out.last_hidden_state.float().cpu(), out.text_embeds.float().cpu()
        return [
            TextEncoding(hidden[i, :length].clone(), embeds[i].clone())
            for i, length in enumerate(lengths)
        ]


def _content_key(picture: Image.Image) -> bytes:
    size = f"{picture.mode} {picture.width} {picture.height} ".encode()
    return hashlib.blake2b(size + picture.tobytes(), digest_size=16).digest()
