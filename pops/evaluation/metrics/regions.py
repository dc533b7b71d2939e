"""Measure pictures inside and outside of the thing that a detector finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pops.datagen.stages import Box, Detect, Detection, Picture, StageRequest
from pops.evaluation.metrics.base import Made, Measuring, Metric, cosine
from pops.evaluation.stages import Look, See

__all__ = [
    "Background",
    "BackgroundFeatures",
    "Found",
    "Gram",
    "Thing",
    "ThingFeatures",
    "TextureTaken",
    "crop",
    "find",
    "gram_distance",
]

THRESHOLD = 0.1  # the published one, of OWLv2 on one thing
GREY = (128, 128, 128)
SMALLEST = 8  # pixels of a side of a crop


def find(picture: Image.Image, label: str, threshold: float = THRESHOLD) -> Detect:
    """Ask for a thing in a picture.

    Args:
        picture: The picture.
        label: The word for the thing.
        threshold: The least score that counts as found.

    Returns:
        The request.
    """
    return Detect(Picture(picture), label, threshold)


def crop(picture: Image.Image, found: Detection | None) -> Image.Image:
    """Cut out what was found; the whole picture where nothing was.

    Args:
        picture: The picture.
        found: The detection.

    Returns:
        The crop.
    """
    if found is None:
        return picture
    left, top, right, bottom = found.box
    if right - left < SMALLEST or bottom - top < SMALLEST:
        return picture
    return picture.crop(found.box)


def _without(picture: Image.Image, box: Box) -> Image.Image:
    """Cover a box with grey."""
    covered = picture.copy()
    covered.paste(GREY, box)
    return covered


class Found(Metric):
    """Whether the thing of an input is found in the picture: 1 or 0."""

    share = True
    stages = ("detect",)

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.name = f"{slot}_found"
        self.title = f"share of pictures in which the {slot} is found"

    def __call__(self, made: Made) -> Measuring:
        (found,) = yield [find(made.picture, made.words[self.slot])]
        return float(found is not None)


class Thing(Metric):
    """The likeness of the thing in the picture to that in an input, both cut out, by CLIP."""

    stages: tuple[str, ...] = ("detect", "clip")
    model = "clip"

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.name = f"{slot}_crop_{self.model}"
        self.title = f"likeness of the {slot} that is found to the input, by {self.model}"

    def __call__(self, made: Made) -> Measuring:
        given, label = made.inputs[self.slot], made.words[self.slot]
        here, there = yield [find(made.picture, label), find(given, label)]
        if here is None:
            return None
        a, b = crop(made.picture, here), crop(given, there)
        return cosine(*_wholes(self.model, (yield _looks(self.model, (a, b)))))


class ThingFeatures(Thing):
    """The likeness of the thing in the picture to that in an input, both cut out, by features."""

    stages = ("detect", "features")
    model = "features"


class Background(Metric):
    """The likeness of the picture to an input outside of the thing, by CLIP.

    The place where the thing is found is covered in both.
    """

    stages: tuple[str, ...] = ("detect", "clip")
    model = "clip"

    def __init__(self, slot: str = "background", thing: str = "object") -> None:
        self.slot = slot
        self.thing = thing
        self.name = f"{slot}_outside_{self.model}"
        self.title = f"likeness to the {slot} outside of the {thing}, by {self.model}"

    def __call__(self, made: Made) -> Measuring:
        (found,) = yield [find(made.picture, made.words[self.thing])]
        pictures = made.picture, made.inputs[self.slot].resize(made.picture.size)
        if found is not None:
            pictures = _without(pictures[0], found.box), _without(pictures[1], found.box)
        return cosine(*_wholes(self.model, (yield _looks(self.model, pictures))))


class BackgroundFeatures(Background):
    """The likeness of the picture to an input outside of the thing, by features."""

    stages = ("detect", "features")
    model = "features"


class TextureTaken(Metric):
    """The likeness of the thing that is found to the texture, by CLIP."""

    name = "texture_clip"
    title = "likeness of the object's region to the texture, by CLIP"
    stages = ("detect", "clip")

    def __call__(self, made: Made) -> Measuring:
        (found,) = yield [find(made.picture, made.words["object"])]
        a, b = yield [Look(crop(made.picture, found)), Look(made.inputs["texture"])]
        return cosine(a, b)


class Gram(Metric):
    """The distance of the Gram matrices of features: of the thing that is found, and the texture.

    After Gatys et al. 2015 (arXiv 1505.07376): textures are statistics of features, wherever in
    the picture each of them is.
    """

    name = "texture_gram"
    title = "Gram distance of the object's region to the texture"
    better = "lower"
    stages = ("detect", "features")

    def __call__(self, made: Made) -> Measuring:
        (found,) = yield [find(made.picture, made.words["object"])]
        a, b = yield [See(crop(made.picture, found)), See(made.inputs["texture"])]
        return gram_distance(a.patches, b.patches)


def gram_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute 1 - the cosine of two Gram matrices.

    The inner product of A'A and B'B is the squared norm of AB', so that neither is formed.

    Args:
        a: Features (P, K).
        b: Features (Q, K).

    Returns:
        The distance, from 0 to 1.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    inner = np.square(a @ b.T).sum()
    norms = np.sqrt(np.square(a @ a.T).sum() * np.square(b @ b.T).sum())
    return float(1 - inner / max(norms, 1e-12))


def _looks(model: str, pictures: Sequence[Image.Image]) -> list[StageRequest]:
    ask = Look if model == "clip" else See
    return [ask(picture) for picture in pictures]


def _wholes(model: str, answers: Sequence[Any]) -> list[np.ndarray]:
    return [answer if model == "clip" else answer.whole for answer in answers]
