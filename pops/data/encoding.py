"""Examples to embeddings: what the encoders are to see, each distinct picture and text once.

Preparing pictures is work for worker processes, encoding is work for the device; between them
goes one `Prepared`.
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

from pops.data.recipes import Example
from pops.data.source import Batch
from pops.errors import DataError
from pops.prior.conditions import Conditions
from pops.stacks.clip import TextEncoding, picture_pixels
from pops.stacks.stack import Stack

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil

__all__ = [
    "Prepared",
    "Words",
    "encode_pixels",
    "encode_texts",
    "make_batch",
    "normalise",
    "prepare",
]

DROPPED = -1  # in place of the row of an embedding: a null input


@dataclass(frozen=True)
class Words:
    """The texts of one example."""

    text: str
    dropped: bool
    drawn_to: str | None


@dataclass(frozen=True)
class Prepared:
    """N examples: the distinct pictures that they need, and which of them is where.

    Arrays of numpy, since tensors would go through the shared memory of the machine, of which
    containers have little.
    """

    keys: tuple[bytes, ...]  # (M,) of the content of each picture
    pixels: np.ndarray  # (M, 3, S, S) float32
    rows: np.ndarray  # (N, 1 + slots) of pixels; the target first; -1 where an input is dropped
    words: tuple[Words, ...] | None  # (N,); None where the operator takes no text


def prepare(processor: CLIPImageProcessorPil, examples: Sequence[Example]) -> Prepared:
    """What the encoders are to see of some examples."""
    pictures: dict[int, Image.Image] = {}  # by identity first, which costs nothing
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
        _words(examples),
    )


def _words(examples: Sequence[Example]) -> tuple[Words, ...] | None:
    found = tuple(Words(e.text, e.text_dropped, e.drawn_to) for e in examples if e.text is not None)
    if len(found) not in (0, len(examples)):
        raise DataError("the recipe gives some of its examples a text, and others none")
    return found or None


def encode_pixels(stack: Stack, pixels: np.ndarray, most: int) -> Tensor:
    """Un-normalised embeddings (M, D) float32 on the CPU, `most` pictures at a time."""
    encoder = stack.image_encoder
    with stack.placement.using(encoder.model):
        parts = [encoder.encode_pixels(part) for part in torch.from_numpy(pixels).split(most)]
    return torch.cat(parts)


def encode_texts(stack: Stack, texts: Sequence[str], most: int) -> dict[str, TextEncoding]:
    """The encodings of the distinct texts among some."""
    distinct = list(dict.fromkeys(texts))
    found: dict[str, TextEncoding] = {}
    if distinct:
        encoder = stack.text_encoder
        with stack.placement.using(encoder.model):
            for start in range(0, len(distinct), most):
                part = distinct[start : start + most]
                found |= zip(part, encoder.encode(part), strict=True)
    return found


def normalise(embeds: Tensor, stats: dict[str, Tensor]) -> Tensor:
    """(e - clip_mean) / clip_std, float32: what the prior works with."""
    return (embeds.float() - stats["clip_mean"]) / stats["clip_std"]


def make_batch(
    gathered: Tensor, text: Conditions | None = None, text_embeds: Tensor | None = None
) -> Batch:
    """A batch from the embeddings of its rows (N, 1 + slots, D): the target, then the inputs.

    `text`: the text tokens (N, L, D) of each row, zero where dropped, and which of them are used.
    """
    target, slots = gathered[:, 0], gathered[:, 1:]
    used = torch.ones(slots.shape[:2], dtype=torch.bool)
    if text is None:
        return Batch(target, Conditions(slots, used), None)
    tokens = torch.cat([slots, text.tokens], dim=1)
    return Batch(target, Conditions(tokens, torch.cat([used, text.mask], dim=1)), text_embeds)
