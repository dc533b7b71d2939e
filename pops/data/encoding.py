"""From examples to embeddings. Each distinct picture and text is encoded once.

Worker processes prepare pictures, and the main process encodes them on its device. A `Prepared`
goes from the ones to the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pops.data.example import Example
from pops.data.sources.batches import Batch
from pops.errors import DataError
from pops.prior.conditions import Conditions
from pops.stacks.clip import TextEncoding, picture_pixels
from pops.stacks.stack import Stack

if TYPE_CHECKING:
    from pops.stacks.clip import Processor

__all__ = [
    "ExampleTexts",
    "Prepared",
    "encode_pixels",
    "encode_texts",
    "halve",
    "make_batch",
    "normalise",
    "prepare",
]

DROPPED = -1  # stands for the row of a dropped input


@dataclass(frozen=True)
class ExampleTexts:
    """The texts of one example: the instruction and the target text."""

    text: str
    dropped: bool
    target_text: str | None


@dataclass(frozen=True)
class Prepared:
    """N examples: their distinct pictures, and which picture is the target and which the inputs.

    The arrays are of numpy, since tensors would go through the shared memory of the machine, of
    which containers have little.
    """

    keys: tuple[bytes, ...]  # (M,) digests of the pictures
    pixels: np.ndarray  # (M, 3, S, S) float32
    rows: np.ndarray  # (N, 1 + slots) rows of pixels; the target first; -1 for a dropped input
    texts: tuple[ExampleTexts, ...] | None  # (N,); None where the operator takes no text


def prepare(processor: Processor, examples: Sequence[Example]) -> Prepared:
    """Prepare the pictures and texts of examples for the encoders.

    Args:
        processor: The image processor of the stack.
        examples: N examples of one operator.

    Returns:
        The examples, each distinct picture once.

    Raises:
        DataError: Some of the examples have a text, and others have none.
    """
    pictures: dict[int, Image.Image] = {}  # by identity, which costs nothing
    for example in examples:
        for picture in (example.target, *example.inputs):
            if picture is not None:
                pictures[id(picture)] = picture
    seen = [picture_pixels(processor, [picture])[0].numpy() for picture in pictures.values()]
    keys = [hashlib.blake2b(pixels.tobytes(), digest_size=16).digest() for pixels in seen]
    distinct = dict(zip(keys, seen, strict=True))
    row_of_key = {key: row for row, key in enumerate(distinct)}
    row_of = {which: row_of_key[key] for which, key in zip(pictures, keys, strict=True)}
    rows = [
        [DROPPED if p is None else row_of[id(p)] for p in (example.target, *example.inputs)]
        for example in examples
    ]
    return Prepared(
        tuple(distinct),
        np.stack(list(distinct.values())),
        np.array(rows, dtype=np.int32),
        _texts(examples),
    )


def _texts(examples: Sequence[Example]) -> tuple[ExampleTexts, ...] | None:
    found = tuple(
        ExampleTexts(e.text, e.text_dropped, e.target_text) for e in examples if e.text is not None
    )
    if len(found) not in (0, len(examples)):
        raise DataError(
            "the recipe gives a text to some of its examples and not to others: give one to "
            "all or to none"
        )
    return found or None


def encode_pixels(stack: Stack, pixels: np.ndarray, most: int) -> Tensor:
    """Encode prepared pictures.

    Args:
        stack: The stack, whose image encoder is used.
        pixels: (M, 3, S, S) float32.
        most: The most pictures in one call of the encoder.

    Returns:
        Un-normalised embeddings (M, D) float32 on the CPU.
    """
    encoder = stack.image_encoder
    with stack.placement.using(encoder.model):
        parts = [encoder.encode_pixels(part) for part in torch.from_numpy(pixels).split(most)]
    return torch.cat(parts)


def encode_texts(stack: Stack, texts: Sequence[str], most: int) -> dict[str, TextEncoding]:
    """Encode texts, each distinct text once; what is over the encoder's length is cut off.

    Args:
        stack: The stack, whose text encoder is used.
        texts: The texts, which may repeat.
        most: The most texts in one call of the encoder.

    Returns:
        The encoding of each text.
    """
    distinct = list(dict.fromkeys(texts))
    found: dict[str, TextEncoding] = {}
    if distinct:
        encoder = stack.text_encoder
        with stack.placement.using(encoder.model):
            for start in range(0, len(distinct), most):
                part = distinct[start : start + most]
                found |= zip(part, encoder.encode(part, cut=True), strict=True)
    return found


def normalise(embeds: Tensor, stats: dict[str, Tensor]) -> Tensor:
    """Normalise embeddings: (e - clip_mean) / clip_std, which is what the prior works with.

    Args:
        embeds: (N, D), un-normalised.
        stats: `clip_mean` and `clip_std` of the stack, (1, D) each.

    Returns:
        (N, D) float32.
    """
    return (embeds.float() - stats["clip_mean"]) / stats["clip_std"]


def halve(numbers: Tensor, stack: Stack, encoder: str) -> np.ndarray:
    """Convert what an encoder gives into float16, as caches and indexes keep it.

    Args:
        numbers: Numbers of any shape.
        stack: The stack of the encoder.
        encoder: The word for the encoder, `image` or `text`.

    Returns:
        The numbers as an array of the same shape.

    Raises:
        DataError: One of them is not finite in float16.
    """
    half = numbers.half()
    if not half.isfinite().all():
        raise DataError(
            f"the {encoder} encoder of {stack.name} gives numbers that are not finite: "
            "try --dtype=float32"
        )
    return half.numpy()


def make_batch(
    gathered: Tensor, text: Conditions | None = None, text_embeds: Tensor | None = None
) -> Batch:
    """Make a batch from the embeddings of its rows.

    Args:
        gathered: (N, 1 + slots, D) normalised: the target, then the inputs, zero where dropped.
        text: Text tokens (N, L, D), zero where dropped, and the mask of those that are used; None
            for an operator without a text.
        text_embeds: (N, D) un-normalised embeddings of the target texts. Without slots, these are
            the texts of a base prior, which are in its pooled-text slot, too.

    Returns:
        The batch.
    """
    target, slots = gathered[:, 0], gathered[:, 1:]
    used = torch.ones(slots.shape[:2], dtype=torch.bool)
    if text is None:
        return Batch(target, Conditions(slots, used), None)
    tokens, mask = torch.cat([slots, text.tokens], dim=1), torch.cat([used, text.mask], dim=1)
    pooled = None if slots.shape[1] else text_embeds  # a base prior sees the text there, too
    return Batch(target, Conditions(tokens, mask, pooled), text_embeds)
