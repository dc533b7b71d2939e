"""Pictures of the pocket world that know the scene they show.

A picture is drawn when its pixels are first asked for, and all that wait then are drawn in one
call, so that the rays of pictures of one pose are traced once.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pops.datagen.folder.manifest import read_manifest
from pops.datagen.stages import Picture
from pops.errors import InputError, UsageError
from pops.io.formats.schema import fit
from pops.io.pictures import open_picture
from pops.pocket.world.geometry.garments import GARMENT_SHAPES
from pops.pocket.world.geometry.shapes import SHAPES
from pops.pocket.world.geometry.trace import Placed, Surface, placing
from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene
from pops.pocket.world.vocabulary import BACKGROUND_WORDS, MATERIAL_WORDS

__all__ = ["Canvas", "ScenePicture", "as_scene_picture", "open_scene_picture"]


class Pose(dict[Placed, Surface]):
    """The places where the rays of a picture meet its things."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as arrays, which is several times quicker than as tensors."""
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
        """The pixels, which are drawn when they are first asked for."""
        return Image.fromarray(self._draw()[0])

    @property
    def things(self) -> np.ndarray:
        """(H, W) uint8: i + 1 where item i of the scene is seen, 0 for the background."""
        return self._draw()[1]

    @property
    def world(self) -> dict[str, Any]:
        """The scene as plain data."""
        return self.scene.record()

    @property
    def materials(self) -> tuple[str, ...]:
        """The materials of its things."""
        return tuple(item.material for item in self.scene.items)

    def hold(self, pixels: np.ndarray, things: np.ndarray) -> None:
        """Keep what was drawn.

        Args:
            pixels: (H, W, 3) uint8.
            things: (H, W) uint8, as of `things`.
        """
        self._drawn = pixels, things

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the picture with all that is known of it, for another process."""
        return _arrived, (self.scene, self.pose, self._canvas.size, *self._draw())

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        if self._drawn is None:
            self._canvas.draw(self)
        assert self._drawn is not None
        return self._drawn


class Canvas:
    """Collects scenes, and draws them together."""

    def __init__(self, size: int, share: bool = True) -> None:
        self.size = size
        self._share = share
        self._waiting: list[ScenePicture] = []

    def add(self, scene: Scene, like: ScenePicture | None = None) -> ScenePicture:
        """Make a picture of a scene, to be drawn later.

        Args:
            scene: The scene.
            like: A picture of the same things in the same places, whose rays are used again.

        Returns:
            The picture.
        """
        drawing = ScenePicture(scene, self, like.pose if like and self._share else Pose())
        if self._share:
            self._waiting.append(drawing)
        return drawing

    def draw(self, asked: ScenePicture) -> None:
        """Draw all pictures that wait.

        Args:
            asked: A picture that is drawn as well.
        """
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
    """Open a picture that the pocket preset has made, as the scene that its manifest describes.

    Args:
        path: The picture file, with the manifest beside it.

    Returns:
        The picture.

    Raises:
        InputError: The manifest does not describe it, or not as a scene of the pocket world.
    """
    world = _worlds(path.parent).get(path.name)
    if world is None:
        raise InputError(
            f"{path}: the pocket preset knows only pictures that it has made: use another preset"
        )
    scene = fit(world, Scene, InputError, f"{path}: its manifest describes no scene: world")
    shapes, materials = SHAPES | GARMENT_SHAPES, MATERIAL_WORDS
    known = scene.background in BACKGROUND_WORDS and all(
        item.shape in shapes and item.material in materials for item in scene.items
    )
    if not known:
        raise InputError(
            f"{path}: its manifest does not describe a scene of the pocket world: make the "
            "folder again"
        )
    return Canvas(open_picture(path).width).add(scene)


@cache
def _worlds(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what each picture of a folder shows, by the name of its file."""
    return {line["files"][-1]: line["world"] for line in read_manifest(folder) if "world" in line}


def as_scene_picture(picture: Picture) -> ScenePicture:
    """Check that a picture is of the pocket world.

    Args:
        picture: Any picture.

    Returns:
        The same picture.

    Raises:
        UsageError: It is not.
    """
    if not isinstance(picture, ScenePicture):
        raise UsageError(
            "the pocket preset knows only pictures that it has made: use another preset"
        )
    return picture
