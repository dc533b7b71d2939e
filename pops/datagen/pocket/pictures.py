"""Pictures of the pocket world, which are scenes until their pixels are asked for.

Then all that wait are drawn in one call, so that pictures of one pose are traced once.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pops.datagen.folder.store import read_manifest
from pops.datagen.stages import Picture
from pops.errors import InputError, UsageError
from pops.io.pictures import open_picture
from pops.pocket.world.render import render
from pops.pocket.world.scene import Item, Scene, View
from pops.pocket.world.trace import Placed, Surface, placing

__all__ = ["Canvas", "ScenePicture", "as_scene_picture", "open_scene_picture"]


class Pose(dict[Placed, Surface]):
    """Where the rays of a picture meet its things."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels as arrays, which is several times quicker than as tensors."""
        parts = [
            (placed, [getattr(surface, one.name).numpy() for one in fields(surface)])
            for placed, surface in self.items()
        ]
        return _arrived_pose, (parts,)


def _arrived_pose(parts: list[tuple[Placed, list[np.ndarray]]]) -> Pose:
    return Pose((placed, Surface(*map(torch.from_numpy, arrays))) for placed, arrays in parts)


class ScenePicture(Picture):
    """A scene of the pocket world, drawn when its pixels are first asked for."""

    def __init__(self, scene: Scene, canvas: Canvas, pose: Pose) -> None:
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

    @property
    def materials(self) -> tuple[str, ...]:
        return tuple(item.material for item in self.scene.items)

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


class Canvas:
    """Scenes that wait to be drawn together."""

    def __init__(self, size: int, share: bool = True) -> None:
        self.size = size
        self._share = share
        self._waiting: list[ScenePicture] = []

    def add(self, scene: Scene, like: ScenePicture | None = None) -> ScenePicture:
        """A picture of the scene; `like`: one of the same things in the same places."""
        drawing = ScenePicture(scene, self, like.pose if like and self._share else Pose())
        if self._share:
            self._waiting.append(drawing)
        return drawing

    def draw(self, asked: ScenePicture) -> None:
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
) -> ScenePicture:
    drawing = ScenePicture(scene, Canvas(size, share=False), pose)
    drawing.hold(pixels, things)
    return drawing


def open_scene_picture(path: Path) -> ScenePicture:
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
    return Canvas(open_picture(path).width).add(scene)


@cache
def _worlds(folder: Path) -> dict[str, dict[str, Any]]:
    """What is in each picture of a folder, by the name of its file."""
    return {line["files"][-1]: line["world"] for line in read_manifest(folder) if "world" in line}


def as_scene_picture(picture: Picture) -> ScenePicture:
    """The picture; UsageError where it is not of the pocket world."""
    if not isinstance(picture, ScenePicture):
        raise UsageError("the pocket preset knows only pictures of its own: use another preset")
    return picture
