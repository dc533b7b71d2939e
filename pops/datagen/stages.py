"""The contracts of the stages: the requests that each takes, and its answers.

A stage, such as a text-to-image model, takes a batch of requests and answers each of them. How
requests are batched changes no answer. The scripts of `generators` know only these contracts, so
that any preset can answer them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pops.data.cutting import Box

__all__ = [
    "Answer",
    "Box",
    "Depth2Image",
    "Detect",
    "Detection",
    "Inpaint",
    "LoadPerson",
    "StageModel",
    "ParsedPerson",
    "Picture",
    "StageRequest",
    "Segment",
    "Stages",
    "Text2Image",
]

Answer = Callable[[Sequence[Any]], Sequence[Any]]  # answers a batch of requests in order


class Picture:
    """An RGB picture on its way through the stages."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    @property
    def image(self) -> Image.Image:
        """The pixels."""
        return self._image

    @property
    def world(self) -> dict[str, Any] | None:
        """All that the picture shows, as plain data; None where that is not known exactly."""
        return None

    @property
    def materials(self) -> tuple[str, ...]:
        """The materials of the things in it; empty where they are not known exactly."""
        return ()


class StageRequest:
    """Base of the requests; `stage` is the name of the stage that answers them."""

    stage: ClassVar[str]


@dataclass(frozen=True)
class Text2Image(StageRequest):
    """Asks for a picture of a prompt. The answer is a Picture."""

    stage = "text2image"
    prompt: str
    seed: int


@dataclass(frozen=True)
class Depth2Image(StageRequest):
    """Asks for the shapes of a picture in other materials. The answer is a Picture of its size."""

    stage = "depth2image"
    picture: Picture
    prompt: str
    seed: int


@dataclass(frozen=True)
class Detect(StageRequest):
    """Asks where a label is seen best. The answer is a Detection, or None where it is not seen."""

    stage = "detect"
    picture: Picture
    label: str
    threshold: float


@dataclass(frozen=True)
class Detection:
    """A place where a label is seen, and how surely, from 0 to 1."""

    box: Box
    score: float


@dataclass(frozen=True)
class Segment(StageRequest):
    """Asks for the foreground of a picture or of a box. The answer is a bool array (H, W)."""

    stage = "segment"
    picture: Picture
    box: Box | None = None


@dataclass(frozen=True)
class Inpaint(StageRequest):
    """Asks for the picture with its mask (H, W) filled anew. The answer is a Picture."""

    stage = "inpaint"
    picture: Picture
    mask: np.ndarray
    prompt: str
    seed: int


@dataclass(frozen=True)
class LoadPerson(StageRequest):
    """Asks for picture `number` of a set of dressed people. The answer is a ParsedPerson."""

    stage = "people"
    number: int
    seed: int


@dataclass(frozen=True)
class ParsedPerson:
    """A dressed person and the ATR label of every pixel, uint8 (H, W)."""

    picture: Picture
    labels: np.ndarray


@dataclass(frozen=True)
class StageModel:
    """The model that answers a stage, as the manifest names it."""

    name: str
    revision: str
    licence: str

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Stages:
    """All stages of a preset: the model of each, and how it is loaded."""

    # By stage: called once, when the stage is first asked; gives the function that answers batches.
    loaders: Mapping[str, Callable[[], Answer]]
    models: Mapping[str, StageModel]
