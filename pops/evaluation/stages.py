"""The stages of an evaluation: what each is asked, and what it answers.

They stand beside those of data generation, and run in the same engines. A picture is first made,
then looked at by one model after another, in the order of `ORDER`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from pops.compose.nodes import Node
from pops.datagen.stages import Picture, StageRequest

__all__ = [
    "ORDER",
    "Describe",
    "EstimateDepth",
    "Judge",
    "Look",
    "Make",
    "Read",
    "Remembering",
    "See",
    "Seen",
    "Understand",
]

ORDER = ("make", "detect", "depth", "clip", "features", "caption", "sentence", "judge")
REMEMBERED = 512  # answers that a stage keeps


@dataclass(frozen=True, eq=False)
class Make(StageRequest):
    """Asks for the picture of a composition. The answer is a picture."""

    stage = "make"
    node: Node
    seed: int


@dataclass(frozen=True, eq=False)
class EstimateDepth(StageRequest):
    """Asks for the depth of a picture. The answer is an array (H, W) in any scale."""

    stage = "depth"
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Look(StageRequest):
    """Asks for the CLIP embedding of a picture. The answer is a unit vector (D,)."""

    stage = "clip"
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Read(StageRequest):
    """Asks for the CLIP embedding of a text. The answer is a unit vector (D,)."""

    stage = "clip"
    text: str


@dataclass(frozen=True, eq=False)
class See(StageRequest):
    """Asks for the features of a picture by a model that knows no words. The answer is a Seen."""

    stage = "features"
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Seen:
    """The features of a picture: of the whole, a unit vector (D,), and of its patches (P, K)."""

    whole: np.ndarray
    patches: np.ndarray


@dataclass(frozen=True, eq=False)
class Describe(StageRequest):
    """Asks for a caption of a picture. The answer is a text."""

    stage = "caption"
    picture: Image.Image


@dataclass(frozen=True, eq=False)
class Understand(StageRequest):
    """Asks for the embedding of a sentence. The answer is a unit vector (D,)."""

    stage = "sentence"
    text: str


@dataclass(frozen=True, eq=False)
class Judge(StageRequest):
    """Asks a vision-language model how well inputs are kept.

    The answer is a number from 1 to 5 for each input, by its name; None where the model does not
    answer, or answers something else.
    """

    stage = "judge"
    picture: Image.Image
    inputs: tuple[tuple[str, Image.Image | str], ...]  # by name: a picture or a text


class Remembering:
    """A stage that answers each distinct request once, as long as it remembers it.

    Inputs are looked at again for every picture that is made of them.
    """

    def __init__(self, answer: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self.answer = answer
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def __call__(self, asked: Sequence[StageRequest]) -> list[Any]:
        """Answer requests in order."""
        keys = [_key(request) for request in asked]
        new = {k: r for k, r in zip(keys, asked, strict=True) if k not in self._known}
        found = {key: self._known[key] for key in keys if key in self._known}
        if new:
            found |= dict(zip(new, self.answer(list(new.values())), strict=True))
        for key, answer in found.items():
            self._known[key] = answer
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return [found[key] for key in keys]


def _key(request: StageRequest) -> Hashable:
    values = (getattr(request, field.name) for field in fields(request))  # type: ignore[arg-type]
    return (type(request), *map(_content, values))


def _content(value: Any) -> Hashable:
    """Turn a picture into a digest of its pixels, within tuples, too."""
    if isinstance(value, Picture):
        value = value.image
    if isinstance(value, Image.Image):
        return value.size, hashlib.blake2b(value.tobytes(), digest_size=16).digest()
    if isinstance(value, tuple):
        return tuple(map(_content, value))
    return value if isinstance(value, Hashable) else repr(value)
