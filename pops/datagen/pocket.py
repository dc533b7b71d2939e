"""Every stage answered exactly by the pocket world: it knows what is in its own pictures.

A picture is a scene until its pixels are asked for; then all that wait are drawn in one call, so
that pictures of one pose are traced once. No held-out combination is ever drawn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from pops.datagen.masks import box_iou, mask_box
from pops.datagen.stages import (
    Depth2Image,
    Detect,
    Detection,
    Inpaint,
    LoadPerson,
    Model,
    Person,
    Picture,
    Segment,
    Stages,
    Text2Image,
)
from pops.datagen.store import read_manifest
from pops.datagen.words import Words
from pops.errors import InputError, UsageError
from pops.pictures import open_picture
from pops.pocket.world.render import render
from pops.pocket.world.scene import Item, Scene, View, outfit, pair, random_view, single
from pops.pocket.world.split import (
    SPLIT_NAME,
    is_held_out,
    is_held_out_outfit,
    is_held_out_pair,
)
from pops.pocket.world.trace import Placed, Surface, placing
from pops.pocket.world.vocabulary import (
    BACKGROUND_WORDS,
    BACKGROUNDS,
    GARMENTS,
    MATERIAL_WORDS,
    MATERIALS,
    OBJECTS,
)

__all__ = ["POCKET_WORDS", "Drawing", "open_drawing", "pocket_stages"]

_MOST_DRAWS = 100
_MATERIAL_OF = {word: name for name, said in MATERIAL_WORDS.items() for word in (name, said)}
# garment -> ATR label; shoes are told apart by their side
_LABELS = {"hat": 1, "top": 4, "skirt": 5, "trousers": 6, "bag": 16, "scarf": 17}
_LEFT_SHOE, _RIGHT_SHOE, _FACE, _LEG = 9, 10, 11, 12


class _PocketWords(Words):
    def materials(self, rng: Random, thing: str, placement: str, count: int) -> list[list[str]]:
        """Different materials, one for each look, none of them held out here."""
        place = _place(placement)
        return [[m] for m in rng.sample(_seen_materials(thing, place), count)]


POCKET_WORDS = _PocketWords(OBJECTS, tuple(BACKGROUND_WORDS.values()), MATERIALS)


Pose = dict[Placed, Surface]  # where the rays of a picture meet its things


class Drawing(Picture):
    """A scene of the pocket world, drawn when its pixels are first asked for."""

    def __init__(self, scene: Scene, canvas: _Canvas, pose: Pose) -> None:
        self.scene = scene
        self.pose = pose  # filled when it is drawn; shared by pictures of the same things
        self._canvas = canvas
        self._drawn: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def image(self) -> Image.Image:
        return Image.fromarray(self._draw()[0])

    @property
    def things(self) -> np.ndarray:
        """(H, W) uint8: i + 1 where item i is seen, 0 for the background."""
        return self._draw()[1]

    @property
    def world(self) -> dict[str, Any]:
        return self.scene.record()

    def hold(self, pixels: np.ndarray, things: np.ndarray) -> None:
        self._drawn = pixels, things

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process with all that is known of it."""
        return _arrived, (self.scene, self.pose, self._canvas.size, *self._draw())

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        if self._drawn is None:
            self._canvas.draw(self)
        assert self._drawn is not None
        return self._drawn


class _Canvas:
    """Scenes that wait to be drawn together."""

    def __init__(self, size: int, share: bool = True) -> None:
        self.size = size
        self._share = share
        self._waiting: list[Drawing] = []

    def add(self, scene: Scene, like: Drawing | None = None) -> Drawing:
        """A picture of the scene; `like`: one of the same things in the same places."""
        drawing = Drawing(scene, self, like.pose if like and self._share else {})
        if self._share:
            self._waiting.append(drawing)
        return drawing

    def draw(self, asked: Drawing) -> None:
        waiting, self._waiting = self._waiting, []
        drawings = waiting if asked in waiting else [*waiting, asked]
        known = {place: surface for drawing in drawings for place, surface in drawing.pose.items()}
        rendering = render([drawing.scene for drawing in drawings], self.size, known)
        for drawing in drawings:
            places = [placing(item, drawing.scene.view) for item in drawing.scene.items]
            drawing.pose.update({place: known[place] for place in places})
        for drawing, pixels, things in zip(
            drawings, rendering.pictures.numpy(), rendering.things.numpy(), strict=True
        ):
            drawing.hold(pixels, things)


def _arrived(
    scene: Scene, pose: Pose, size: int, pixels: np.ndarray, things: np.ndarray
) -> Drawing:
    drawing = Drawing(scene, _Canvas(size, share=False), pose)
    drawing.hold(pixels, things)
    return drawing


def open_drawing(path: Path) -> Drawing:
    """A picture that the pocket preset has made, with all that its manifest tells of it.

    Raises:
        InputError: the manifest beside it does not tell of it.
    """
    world = _worlds(path.parent).get(path.name)
    if world is None:
        raise InputError(f"{path}: the pocket preset knows only pictures of its own, by manifest")
    items = tuple(Item(**item) for item in world["items"])
    rest = {key: world[key] for key in ("background", "adjective", "phase")}
    scene = Scene(items=items, view=View(**world["view"]), **rest)
    return _Canvas(open_picture(path).width).add(scene)


@cache
def _worlds(folder: Path) -> dict[str, dict[str, Any]]:
    """What is in each picture of a folder, by the name of its file."""
    return {line["files"][-1]: line["world"] for line in read_manifest(folder) if "world" in line}


# --- from words to scenes -------------------------------------------------------------------


def _place(text: str) -> str:
    """The background that a prompt ends in."""
    for name, words in BACKGROUND_WORDS.items():
        if text.endswith(words):
            return name
    known = ", ".join(BACKGROUND_WORDS.values())
    raise UsageError(f"the pocket world knows no place in {text!r}; it has {known}")


def _seen_materials(shape: str, background: str) -> list[str]:
    """Materials whose combination with the two may be trained on."""
    return [m for m in MATERIALS if not is_held_out(shape, m, background)]


def _named(prompt: str) -> list[tuple[str, str | None]]:
    """(object, material or None where none is said) of the things in a prompt."""
    said = None
    things = []
    for word in re.findall(r"[a-z]+", prompt.lower()):
        said = _MATERIAL_OF.get(word, said)
        if word in OBJECTS:
            things.append((word, said))
            said = None
    return things


def _made(
    things: Sequence[tuple[str, str | None]], background: str, rng: Random
) -> list[tuple[str, str]]:
    """The things with a material each, drawn where none is said; none of it held out.

    Raises:
        UsageError: what is said is held out.
    """
    for _ in range(_MOST_DRAWS):
        made = [
            (shape, said or rng.choice(_seen_materials(shape, background)))
            for shape, said in things
        ]
        alone = any(is_held_out(shape, material, background) for shape, material in made)
        if not alone and (len(made) != 2 or not is_held_out_pair(made[0], made[1])):
            return made
    raise UsageError(f"{things} in {background} is held out, for evaluation alone")


def _imagine(request: Text2Image) -> Scene:
    rng = Random(request.seed)
    background = _place(request.prompt)
    named = _named(request.prompt.removesuffix(BACKGROUND_WORDS[background]))
    if len(named) > 2:
        raise UsageError(f"the pocket world puts at most two things in a picture, not {named}")
    things = _made(named, background, rng)
    if len(things) == 2:
        return pair(things[0], things[1], background, rng)
    if things:
        return single(*things[0], background, rng)
    return Scene((), background, random_view(rng), phase=rng.uniform(0.0, 20.0))


def _made_of(request: Depth2Image) -> Scene:
    """The same pose; every thing of the material that the prompt names."""
    rng = Random(request.seed)
    scene = _drawing(request.picture).scene
    words = re.findall(r"made from ([a-z]+)", request.prompt)
    if not words or words[0] not in _MATERIAL_OF:
        raise UsageError(f"the pocket world knows no material in {request.prompt!r}")
    material = _MATERIAL_OF[words[0]]
    items = tuple(
        replace(item, material=material, phase=rng.uniform(0.0, 20.0)) for item in scene.items
    )
    return replace(scene, items=items)


def _drawing(picture: Picture) -> Drawing:
    if not isinstance(picture, Drawing):
        raise UsageError("the pocket preset knows only pictures of its own: use another preset")
    return picture


# --- the answers ----------------------------------------------------------------------------


def _detect(request: Detect) -> Detection | None:
    picture = _drawing(request.picture)
    boxes = [
        mask_box(picture.things == i + 1)
        for i, item in enumerate(picture.scene.items)
        if item.shape == request.label
    ]
    seen = [box for box in boxes if box]
    if not seen:
        return None
    largest = max(seen, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    return Detection(largest, 1.0)


def _segment(request: Segment) -> np.ndarray:
    picture = _drawing(request.picture)
    if request.box is None:
        return np.asarray(picture.things > 0)
    numbers = range(1, len(picture.scene.items) + 1)
    masks = [picture.things == number for number in numbers]
    boxes = [mask_box(mask) or (0, 0, 0, 0) for mask in masks]
    likeness = [box_iou(box, request.box) for box in boxes]
    return np.asarray(masks[likeness.index(max(likeness))])


def _dress(request: LoadPerson) -> Scene:
    rng = Random(request.seed)
    while True:
        background = rng.choice(BACKGROUNDS)
        worn = rng.sample(GARMENTS, rng.randint(2, 5))
        worn = [g for g in worn if not (g == "skirt" and "trousers" in worn)]
        chosen = [(g, rng.choice(_seen_materials(f"worn {g}", background))) for g in worn]
        if not is_held_out_outfit(chosen):
            return outfit(chosen, background, rng)


def _labels(drawing: Drawing) -> np.ndarray:
    """ATR labels (H, W) of a dressed mannequin."""
    labels = np.zeros_like(drawing.things)
    for i, item in enumerate(drawing.scene.items):
        mask = drawing.things == i + 1
        labels[mask] = _label(item, mask)[mask]
    return labels


def _label(item: Item, mask: np.ndarray) -> np.ndarray:
    garment = item.shape.removeprefix("worn ")
    if garment == "shoes":  # the wearer's left is on the right of the picture
        columns = np.nonzero(mask)[1]
        middle = (columns.min() + columns.max()) / 2 if len(columns) else 0
        side = np.where(np.arange(mask.shape[1]) > middle, _LEFT_SHOE, _RIGHT_SHOE)
        return np.broadcast_to(side, mask.shape)
    if garment == "mannequin":  # the head is the topmost sixth
        rows = np.nonzero(mask)[0]
        neck = rows.min() + (rows.max() - rows.min()) / 6 if len(rows) else 0
        part = np.where(np.arange(mask.shape[0]) < neck, _FACE, _LEG)
        return np.broadcast_to(part[:, None], mask.shape)
    return np.full(mask.shape, _LABELS[garment])


@dataclass(frozen=True)
class _Pocket:
    canvas: _Canvas

    def text2image(self, asked: Sequence[Text2Image]) -> list[Picture]:
        return [self.canvas.add(_imagine(request)) for request in asked]

    def depth2image(self, asked: Sequence[Depth2Image]) -> list[Picture]:
        return [self.canvas.add(_made_of(r), like=_drawing(r.picture)) for r in asked]

    def detect(self, asked: Sequence[Detect]) -> list[Detection | None]:
        return [_detect(request) for request in asked]

    def segment(self, asked: Sequence[Segment]) -> list[np.ndarray]:
        return [_segment(request) for request in asked]

    def inpaint(self, asked: Sequence[Inpaint]) -> list[Picture]:
        return [self.canvas.add(replace(_drawing(r.picture).scene, items=())) for r in asked]

    def people(self, asked: Sequence[LoadPerson]) -> list[Person]:
        drawings = [self.canvas.add(_dress(request)) for request in asked]
        return [Person(drawing, _labels(drawing)) for drawing in drawings]


def pocket_stages(size: int = 64, share: bool = True) -> Stages:
    """The stages of the pocket world, with pictures of `size` pixels.

    `share`: draw what waits in one call; without, each picture alone, as a loop would.
    """
    pocket = _Pocket(_Canvas(size, share))
    stages = ("text2image", "depth2image", "detect", "segment", "inpaint", "people")
    model = Model("pocket world", SPLIT_NAME, "Apache-2.0")
    return Stages(
        {stage: partial(getattr, pocket, stage) for stage in stages},
        dict.fromkeys(stages, model),
    )
