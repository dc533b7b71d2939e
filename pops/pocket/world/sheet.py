"""Contact sheets of the pocket world, and the default input pictures rendered from it."""

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pops.figures import grid
from pops.pictures import save_picture
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Item, Scene, Swatch, View, outfit, pair, single, with_adjective
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = ["draw", "draw_assets"]

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


def _pictures(scenes: Sequence[Scene], size: int) -> list[Image.Image]:
    return [Image.fromarray(p.numpy()) for p in render(scenes, size).pictures]


def _objects(rng: random.Random) -> Image.Image:
    """Every object in every place, in ever other materials."""
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
    """Every material as a swatch and on some objects."""
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
    """Pairs of objects, and people in random garments."""

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


def draw(out: Path, seed: int = 0) -> list[Path]:
    """Write the contact sheets into a folder; the same seed draws the same sheets."""
    written = []
    for name, sheet in {
        "objects": _objects,
        "materials": _materials,
        "adjectives": _adjectives,
        "together": _together,
    }.items():
        path = out / f"{name}.jpg"
        save_picture(sheet(random.Random(f"{seed}/{name}")), path)
        written.append(path)
    return written


def draw_assets(out: Path) -> None:
    """Write `objects`, `textures` and `backgrounds`: the inputs that pops comes with."""
    for folder in ("objects", "textures", "backgrounds"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    view = View(look_y=0.7)
    portraits = [
        Scene((Item(shape, material, phase=3.0),), "studio", view)
        for shape, material in _PORTRAITS.items()
    ]
    for shape, portrait in zip(_PORTRAITS, portraits, strict=True):
        save_picture(_pictures([portrait], _ASSET)[0], out / "objects" / f"{shape}.png")
    swatches = render_swatches([Swatch(m, 5.0, 1.5) for m in MATERIALS], _ASSET)
    for material, swatch in zip(MATERIALS, swatches, strict=True):
        save_picture(Image.fromarray(swatch.numpy()), out / "textures" / f"{material}.png")
    for place in BACKGROUNDS:
        empty = Scene((), place, view, phase=2.0)
        save_picture(_pictures([empty], _ASSET)[0], out / "backgrounds" / f"{place}.png")
