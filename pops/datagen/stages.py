"""The contracts of the stages: what each is asked and what it answers.

A stage takes a batch of requests of its kind and answers each; how they are batched changes no
answer. Scripts (generators.py) know only these contracts, so any preset can answer them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

__all__ = [
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

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels; x2 and y2 exclusive


class Picture:
    """An RGB picture on its way through the stages."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    @property
    def image(self) -> Image.Image:
        return self._image

    @property
    def world(self) -> dict[str, Any] | None:
        """Everything in the picture as plain data, where that is known exactly."""
        return None

    @property
    def materials(self) -> tuple[str, ...]:
        """What its things are made of, where that is known exactly."""
        return ()


class StageRequest:
    """What a stage is asked; `stage` names it."""

    stage: ClassVar[str]


@dataclass(frozen=True)
class Text2Image(StageRequest):
    """A picture of the prompt. Answer: Picture."""

    stage = "text2image"
    prompt: str
    seed: int


@dataclass(frozen=True)
class Depth2Image(StageRequest):
    """The shapes of a picture in other materials. Answer: Picture of the same size."""

    stage = "depth2image"
    picture: Picture
    prompt: str
    seed: int


@dataclass(frozen=True)
class Detect(StageRequest):
    """Where the best match of a label is. Answer: Detection, or None where there is none."""

    stage = "detect"
    picture: Picture
    label: str
    threshold: float


@dataclass(frozen=True)
class Detection:
    box: Box
    score: float


@dataclass(frozen=True)
class Segment(StageRequest):
    """The foreground of a picture, or of what is in a box. Answer: bool array (H, W)."""

    stage = "segment"
    picture: Picture
    box: Box | None = None


@dataclass(frozen=True)
class Inpaint(StageRequest):
    """The picture with something else under the mask (H, W) bool. Answer: Picture."""

    stage = "inpaint"
    picture: Picture
    mask: np.ndarray
    prompt: str
    seed: int


@dataclass(frozen=True)
class LoadPerson(StageRequest):
    """Picture `number` of a set of dressed people. Answer: Person."""

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
    """What answers a stage, as the manifest tells it."""

    name: str
    revision: str
    licence: str

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Stages:
    """All stages of a preset: what answers each, and how to load it.

    `loaders`: stage name -> a call that loads it and gives the function that answers batches. It
    is called once, when the stage is first asked.
    """

    loaders: Mapping[str, Callable[[], Callable[[Sequence[Any]], Sequence[Any]]]]
    models: Mapping[str, StageModel]
