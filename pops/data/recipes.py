"""Recipes: how a record on disk becomes an example for an operator. One table row each.

A recipe is a pure function of its record and of the random generator that it is given. The rules
are those of the paper and the published code: see `docs/data.md`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from pops.data.cutting import cut_out, find_patch, paste_at_random, pasted, square
from pops.data.persons import ATR, Person, read_persons
from pops.data.reader import Reader
from pops.data.records import (
    PictureRecord,
    Record,
    SceneRecord,
    TexturingRecord,
    UnionRecord,
    read_pictures,
    read_scenes,
    read_texturing,
    read_unions,
)
from pops.errors import InputError, UsageError
from pops.operators import Operator, find_operator

__all__ = ["RECIPES", "Example", "Recipe", "drop", "find_recipe", "make_example"]

SELF = 0.2  # share of texturing examples whose object is the target itself
EVEN = 0.5  # chance of one of two equally likely ways
PATCH_LEAST = 96 / 512  # side of a patch, as a share of the picture's shorter side
PATCH_MOST = 0.5  # ... as a share of the box's shorter side
# Labels of ATR human parsing in the order of the slots of clothes.
GARMENT_LABELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17)
PUBLISHED_MODES = {"texture": "texturing"}  # names of modes that are not the operator's


@dataclass(frozen=True)
class Example:
    """One training example. An input that is None is a null input: a zero token, but visible."""

    target: Image.Image
    inputs: tuple[Image.Image | None, ...]
    text: str | None = None
    text_dropped: bool = False  # the text's tokens are zero, as many as they would be
    drawn_to: str | None = None  # the text that the prediction is drawn to

    def without(self, inputs: Sequence[bool], text: bool) -> Example:
        """This example with those of its conditions dropped that are true."""
        kept = tuple(
            None if gone else given for given, gone in zip(self.inputs, inputs, strict=True)
        )
        return replace(self, inputs=kept, text_dropped=self.text_dropped or text)


Make = Callable[[Any, Random, Reader], Example]


@dataclass(frozen=True)
class Recipe:
    """How records are read, and made into examples of the operator of the same name."""

    name: str
    read: Callable[[str], Sequence[Record]]  # a folder, or what else names a dataset
    make: Make  # of one record; the conditions are not dropped yet
    version: int = 1  # to be raised when what it makes changes: caches of another are stale
    random_share: float = 0.0  # of examples that are random pictures, where there are any
    random_drop: tuple[float, ...] = ()  # of those, the chance of each input to be dropped
    default_dataset: str | None = None  # where none is given


def make_example(
    recipe: Recipe, operator: Operator, record: Any, rng: Random, reader: Reader
) -> Example:
    """An example of a record, with its conditions dropped at random.

    Raises:
        InputError: a file of the record cannot be read, or shows nothing that can be used.
    """
    randoms = reader.settings.randoms
    if randoms and rng.random() < recipe.random_share:
        picture = reader.random_picture(randoms, rng)
        gone = [rng.random() < chance for chance in recipe.random_drop]
        return Example(picture, (picture,) * len(gone)).without(gone, text=False)
    return drop(recipe.make(record, rng, reader), operator, rng)


def drop(example: Example, operator: Operator, rng: Random) -> Example:
    """Conditions dropped with the operator's chances: each alone, or all together."""
    each = [rng.random() < operator.drop_each for _ in range(len(example.inputs) + 1)]
    everything = rng.random() < operator.drop_all
    gone = [alone or everything for alone in each]
    return example.without(gone[:-1], text=gone[-1] and example.text is not None)


def find_recipe(mode: str, operator_file: str | Path | None = None) -> tuple[Operator, Recipe]:
    """The operator and recipe of a name, or those that a Python file of the user's own defines.

    Raises:
        UsageError: unknown name, or a file without OPERATOR and RECIPE.
    """
    if operator_file is not None:
        return _own(Path(operator_file).expanduser())
    operator = find_operator(PUBLISHED_MODES.get(mode, mode))
    return operator, RECIPES[operator.name]


def _own(path: Path) -> tuple[Operator, Recipe]:
    """Runs the file: it is the user's, named on the command line."""
    name = f"pops_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"--operator wants a Python file, and {path} is none")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where worker processes look for its functions
    spec.loader.exec_module(module)
    operator, recipe = getattr(module, "OPERATOR", None), getattr(module, "RECIPE", None)
    if not isinstance(operator, Operator) or not isinstance(recipe, Recipe):
        raise UsageError(f"{path} must define OPERATOR = Operator(...) and RECIPE = Recipe(...)")
    return operator, recipe


# --- the recipes ------------------------------------------------------------------------------


def make_texturing(record: TexturingRecord, rng: Random, reader: Reader) -> Example:
    """Target: a variant. Object: another picture of the record, or the target. Texture: a patch.

    With textures from elsewhere, for validation, the texture is one of them, and the target the
    object.
    """
    if not record.variants:
        raise InputError(f"{record.folder}: there is no variant of {record.base}")
    chosen = rng.choice(record.variants)
    others = [name for name in (record.base, *record.variants) if name != chosen]
    shown = chosen if rng.random() < SELF else rng.choice(others)
    target, thing = (reader.picture(record.folder / name) for name in (chosen, shown))
    if reader.settings.textures:
        return Example(thing, (thing, reader.random_picture(reader.settings.textures, rng)))
    return Example(target, (thing, _patch(record, target, rng, reader)))


def _patch(
    record: TexturingRecord, target: Image.Image, rng: Random, reader: Reader
) -> Image.Image:
    """A random square of the target inside the object's mask and box."""
    mask = reader.mask_picture(record.mask, target.size)
    x1, y1, x2, y2 = reader.box(record.box, target.size)
    least, most = PATCH_LEAST * min(target.size), PATCH_MOST * min(x2 - x1, y2 - y1)
    patch = find_patch(mask[y1:y2, x1:x2], rng, min(least, max(most, 1)), most)
    if patch is None:
        raise InputError(f"{record.mask}: the object is too small for a patch of it")
    x, y, side = patch
    return target.crop((x1 + x, y1 + y, x1 + x + side, y1 + y + side))


def make_scene(record: SceneRecord, rng: Random, reader: Reader) -> Example:
    """Target: the scene. Object: it, on white or on a random background. Background: without it."""
    target = reader.picture(record.picture)
    alpha = reader.alpha(record.mask, target.size)
    behind = Image.new("RGB", (1, 1), "white")
    if rng.random() < EVEN and reader.settings.backgrounds:
        behind = reader.random_picture(reader.settings.backgrounds, rng)
    return Example(target, (pasted(target, alpha, behind), reader.picture(record.background)))


def make_union(record: UnionRecord, rng: Random, reader: Reader) -> Example:
    """Target: two objects. Inputs: each alone on white, of any size and place, in any order."""
    target = reader.picture(record.picture)
    side = min(target.size)
    first, second = (paste_at_random(reader.picture(path), side, rng) for path in record.objects)
    return Example(target, (second, first) if rng.random() < EVEN else (first, second))


def make_instruct(record: PictureRecord, rng: Random, reader: Reader) -> Example:
    """Target: the object itself, drawn to a text of it with an adjective or as a kind of art."""
    settings = reader.settings
    picture = reader.picture(record.picture)
    adjective = rng.random() < EVEN
    if adjective or not settings.art_types:
        word = rng.choice(settings.adjectives)
        return Example(picture, (picture,), word, drawn_to=f"A {word} {record.words}")
    word = rng.choice(settings.art_types)
    return Example(picture, (picture,), word, drawn_to=f"A {word} of a {record.words}")


def make_clothes(record: Person, rng: Random, reader: Reader) -> Example:
    """Target: a person. Inputs: what it wears, each on white in its own slot; None for the rest."""
    picture, pieces = reader.once("garments", lambda: _garments(record, reader))
    side = max(picture.size)
    worn = tuple(piece and paste_at_random(piece, side, rng) for piece in pieces)
    return Example(reader.once("square", lambda: square(picture)), worn)


def _garments(record: Person, reader: Reader) -> tuple[Image.Image, list[Image.Image | None]]:
    """A person, and each of its garments cut out on white; None for one too small to be seen."""
    picture, labels = record.open()
    pieces = [_garment(picture, labels == label, reader) for label in GARMENT_LABELS]
    if not any(pieces):
        raise InputError(f"{record.name}: no garment is large enough")
    return picture, pieces


def _garment(picture: Image.Image, mask: np.ndarray, reader: Reader) -> Image.Image | None:
    if np.count_nonzero(mask) < max(1, reader.settings.garment_area):
        return None
    piece = cut_out(picture, mask)
    return piece if min(piece.size) >= reader.settings.garment_side else None


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "texturing",
            read_texturing,
            make_texturing,
            random_share=0.2,
            random_drop=(0.5, 1.0),
        ),
        Recipe("union", read_unions, make_union, random_share=0.1, random_drop=(1.0, 1.0)),
        Recipe("scene", read_scenes, make_scene, random_share=0.1, random_drop=(1.0, 1.0)),
        Recipe("instruct", read_pictures, make_instruct),
        Recipe("clothes", read_persons, make_clothes, default_dataset=ATR),
    )
}
