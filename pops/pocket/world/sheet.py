"""Contact sheets of the pocket world, and the default input pictures rendered from it."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from PIL import Image

from pops.figures import grid
from pops.io.pictures import save_picture
from pops.pocket.world.cutout import garment_cutouts, garment_scene, pixels_picture
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Item, Scene, Swatch, View, outfit, pair, single, with_adjective
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = ["draw", "draw_assets"]

Progress = Callable[[str, int, int], None]

_CELL = 96
_ASSET = 512

# A becoming material for every object's own portrait.
_PORTRAITS = {
    "mug": "blue",
    "teapot": "red",
    "vase": "purple",
    "bottle": "green",
    "chair": "wood",
    "table": "wood",
    "lamp": "pink",
    "car": "red",
    "house": "brick",
    "fish": "rainbow",
    "rabbit": "pink",
    "mushroom": "dots",
    "tree": "green",
    "hat": "purple",
    "ball": "stripes",
    "cube": "checker",
    "donut": "pink",
    "rocket": "silver",
    "snowman": "ice",
    "boat": "wood",
}

# What the default person wears.
_OUTFIT = {
    "hat": "purple",
    "top": "stripes",
    "trousers": "blue",
    "shoes": "gold",
    "bag": "leopard",
    "scarf": "knit",
}


def _pictures(scenes: Sequence[Scene], size: int) -> list[Image.Image]:
    return [Image.fromarray(p.numpy()) for p in render(scenes, size).pictures]


def _objects(rng: random.Random) -> Image.Image:
    """Draw every object in every place, in ever other materials."""
    rows = [
        _pictures(
            [
                single(shape, MATERIALS[(3 * i + k) % len(MATERIALS)], place, rng)
                for k, place in enumerate(BACKGROUNDS)
            ],
            _CELL,
        )
        for i, shape in enumerate(OBJECTS)
    ]
    return grid(rows, OBJECTS, BACKGROUNDS, _CELL)


def _materials(rng: random.Random) -> Image.Image:
    """Draw every material as a swatch and on some objects."""
    shown = ("mug", "rabbit", "car", "donut", "house")
    swatches = render_swatches([Swatch(m, rng.uniform(0, 20)) for m in MATERIALS], _CELL)
    rows = [
        [
            Image.fromarray(swatch.numpy()),
            *_pictures([single(s, material, "studio", rng) for s in shown], _CELL),
        ]
        for material, swatch in zip(MATERIALS, swatches, strict=True)
    ]
    return grid(rows, MATERIALS, ("swatch", *shown), _CELL)


def _adjectives(rng: random.Random) -> Image.Image:
    things = (("chair", "wood", "beach"), ("mug", "red", "forest"), ("teapot", "dots", "room"))
    rows = []
    for shape, material, place in (*things, ("rabbit", "gold", "night")):
        base = single(shape, material, place, rng)
        rows.append(_pictures([base, *(with_adjective(base, a, rng) for a in ADJECTIVES)], _CELL))
    return grid(rows, ("chair", "mug", "teapot", "rabbit"), ("as it is", *ADJECTIVES), _CELL)


def _together(rng: random.Random) -> Image.Image:
    """Draw pairs of objects, and people in random garments."""

    def thing(kinds: Sequence[str]) -> tuple[str, str]:
        return rng.choice(kinds), rng.choice(MATERIALS)

    pairs = [
        [pair(thing(OBJECTS), thing(OBJECTS), place, rng) for place in BACKGROUNDS]
        for _ in range(2)
    ]
    outfits = [
        [
            outfit([(g, rng.choice(MATERIALS)) for g in rng.sample(GARMENTS, 4)], place, rng)
            for place in BACKGROUNDS
        ]
        for _ in range(2)
    ]
    rows = [_pictures(scenes, _CELL) for scenes in (*pairs, *outfits)]
    return grid(rows, ("two things", "", "clothes", ""), BACKGROUNDS, _CELL)


_SHEETS: dict[str, Callable[[random.Random], Image.Image]] = {
    "objects": _objects,
    "materials": _materials,
    "adjectives": _adjectives,
    "together": _together,
}


def draw(out: Path, seed: int = 0, progress: Progress | None = None) -> Iterator[Path]:
    """Write the contact sheets into a folder, one by one.

    Args:
        out: the folder.
        seed: the same seed draws the same sheets.
        progress: called with the name of the work, the sheets done, and all of them.

    Yields:
        The path of each sheet, once it is written.
    """
    for done, (name, sheet) in enumerate(_SHEETS.items()):
        if progress:
            progress("draw sheets", done, len(_SHEETS))
        path = out / f"{name}.jpg"
        save_picture(sheet(random.Random(f"{seed}/{name}")), path)
        yield path


def draw_assets(out: Path, progress: Progress | None = None) -> None:
    """Write the default inputs of pops: `objects`, `textures`, `backgrounds` and `garments`.

    Garments are named after the slots of the clothes operator that they go into.

    Args:
        out: the folder in which these four are made.
        progress: called with the name of the work, the pictures done, and all of them.
    """
    view = View(look_y=0.7)
    portraits = {
        shape: Scene((Item(shape, material, phase=3.0),), "studio", view)
        for shape, material in _PORTRAITS.items()
    }
    places = {place: Scene((), place, view, phase=2.0) for place in BACKGROUNDS}
    total = len(portraits) + len(places) + len(MATERIALS) + len(_OUTFIT)
    drawn = count(1)
    for folder, scenes in (("objects", portraits), ("backgrounds", places)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for name, scene in scenes.items():
            save_picture(_pictures([scene], _ASSET)[0], out / folder / f"{name}.png")
            if progress:
                progress("draw pictures", next(drawn), total)
    (out / "textures").mkdir(parents=True, exist_ok=True)
    for material in MATERIALS:
        (swatch,) = render_swatches([Swatch(material, 5.0, 1.5)], _ASSET)
        save_picture(Image.fromarray(swatch.numpy()), out / "textures" / f"{material}.png")
        if progress:
            progress("draw pictures", next(drawn), total)
    (out / "garments").mkdir(parents=True, exist_ok=True)
    for garment, material in _OUTFIT.items():
        scene = garment_scene(garment, material, random.Random(garment))
        turned = replace(scene, items=(replace(scene.items[0], yaw=18.0),))
        (cuts,) = garment_cutouts([turned], _ASSET)
        for slot, cut in cuts.items():
            save_picture(pixels_picture(cut), out / "garments" / f"{slot}.png")
        if progress:
            progress("draw pictures", next(drawn), total)
