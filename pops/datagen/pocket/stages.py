"""The stages of the pocket world, whose answers are exact: it knows what its pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pops.data.cutting import mask_box
from pops.data.human_parsing import FACE, GARMENT_LABELS, LEFT_LEG
from pops.datagen.masks import box_iou
from pops.datagen.pocket.pictures import Canvas, ScenePicture, as_scene_picture
from pops.datagen.pocket.prompts import dress, imagine, remake
from pops.datagen.stages import (
    Depth2Image,
    Detect,
    Detection,
    Inpaint,
    LoadPerson,
    ParsedPerson,
    Picture,
    Segment,
    StageModel,
    Stages,
    Text2Image,
)
from pops.pocket.world.cutout import SLOT_OF
from pops.pocket.world.scene import Item
from pops.pocket.world.split import SPLIT_NAME

__all__ = ["pocket_stages"]

_LABELS = {garment: [GARMENT_LABELS[slot] for slot in slots] for garment, slots in SLOT_OF.items()}


def _detect(request: Detect) -> Detection | None:
    picture = as_scene_picture(request.picture)
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
    picture = as_scene_picture(request.picture)
    if request.box is None:
        return np.asarray(picture.things > 0)
    numbers = range(1, len(picture.scene.items) + 1)
    masks = [picture.things == number for number in numbers]
    boxes = [mask_box(mask) or (0, 0, 0, 0) for mask in masks]
    likeness = [box_iou(box, request.box) for box in boxes]
    return np.asarray(masks[likeness.index(max(likeness))])


def _labels(drawing: ScenePicture) -> np.ndarray:
    """Label every pixel (H, W) of a dressed mannequin as ATR does."""
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
        side = np.where(np.arange(mask.shape[1]) > middle, *_LABELS[garment])
        return np.broadcast_to(side, mask.shape)
    if garment == "mannequin":  # the head is the topmost sixth
        rows = np.nonzero(mask)[0]
        neck = rows.min() + (rows.max() - rows.min()) / 6 if len(rows) else 0
        part = np.where(np.arange(mask.shape[0]) < neck, FACE, LEFT_LEG)
        return np.broadcast_to(part[:, None], mask.shape)
    return np.full(mask.shape, _LABELS[garment][0])


@dataclass(frozen=True)
class _Pocket:
    canvas: Canvas

    def text2image(self, asked: Sequence[Text2Image]) -> list[Picture]:
        return [self.canvas.add(imagine(request)) for request in asked]

    def depth2image(self, asked: Sequence[Depth2Image]) -> list[Picture]:
        return [self.canvas.add(remake(r), like=as_scene_picture(r.picture)) for r in asked]

    def detect(self, asked: Sequence[Detect]) -> list[Detection | None]:
        return [_detect(request) for request in asked]

    def segment(self, asked: Sequence[Segment]) -> list[np.ndarray]:
        return [_segment(request) for request in asked]

    def inpaint(self, asked: Sequence[Inpaint]) -> list[Picture]:
        return [
            self.canvas.add(replace(as_scene_picture(r.picture).scene, items=())) for r in asked
        ]

    def people(self, asked: Sequence[LoadPerson]) -> list[ParsedPerson]:
        drawings = [self.canvas.add(dress(request)) for request in asked]
        return [ParsedPerson(drawing, _labels(drawing)) for drawing in drawings]


def pocket_stages(size: int = 64, share: bool = True) -> Stages:
    """Make the stages of the pocket world.

    Args:
        size: Pixels of a side of a picture.
        share: Whether pictures that are asked for together are drawn together; without, each is
            drawn by itself, as a plain loop would.

    Returns:
        The stages.
    """
    pocket = _Pocket(Canvas(size, share))
    stages = ("text2image", "depth2image", "detect", "segment", "inpaint", "people")
    model = StageModel("pocket world", SPLIT_NAME, "Apache-2.0")
    return Stages(
        {stage: partial(getattr, pocket, stage) for stage in stages},
        dict.fromkeys(stages, model),
    )
