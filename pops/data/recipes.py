"""Recipes: how a record on disk becomes a training example of an operator. One table row each.

A recipe is a pure function of its record and of the random generator that it is given. The rules
are those of the paper and the published code: see `docs/data.md`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from pops.data.cutting import find_patch, paste_at_random, pasted, square
from pops.data.example import Example
from pops.data.human_parsing import GARMENT_LABELS, cut_garment
from pops.data.reader import Reader
from pops.data.records.captions import BASE, make_captioned, read_captioned
from pops.data.records.layouts import (
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
from pops.data.records.persons import ATR, PersonRecord, read_persons
from pops.errors import InputError, UsageError, check_known
from pops.io.names import expand_home
from pops.operators import OPERATORS, Operator

__all__ = ["RECIPES", "Example", "Recipe", "drop", "find_recipe", "make_example"]

SELF = 0.2  # share of texturing examples whose object is the target itself
EVEN = 0.5  # chance of each of two equally likely choices
PATCH_LEAST = 96 / 512  # smallest side of a patch, as a share of the picture's shorter side
PATCH_MOST = 0.5  # largest side of a patch, as a share of the box's shorter side
PUBLISHED_MODES = {"texture": "texturing"}  # published modes that differ from the operator's name


Make = Callable[[Any, Random, Reader], Example]


@dataclass(frozen=True)
class Recipe:
    """How records are read and made into examples of the operator of the same name."""

    name: str
    read: Callable[[str], Sequence[Record]]  # lists the records of a folder or of a hub's dataset
    make: Make  # makes an example of a record; its conditions are not dropped yet
    version: int = 1  # to be raised when the examples change: caches of another version are stale
    random_share: float = 0.0  # share of examples that are random pictures, if there are any
    random_drop: tuple[float, ...] = ()  # chance of each input of such an example to be dropped
    default_dataset: str | None = None  # the dataset that is read where none is given


def make_example(
    recipe: Recipe, operator: Operator, record: Any, rng: Random, reader: Reader
) -> Example:
    """Make an example of a record, and drop its conditions at random.

    Args:
        recipe: The recipe that makes the example.
        operator: The operator, whose row holds the chances of dropping.
        record: A record that `recipe.read` has listed.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example.

    Raises:
        InputError: A file of the record cannot be read, or shows nothing that can be used.
    """
    randoms = reader.settings.randoms
    if randoms and rng.random() < recipe.random_share:
        picture = reader.random_picture(randoms, rng)
        gone = [rng.random() < chance for chance in recipe.random_drop]
        return Example(picture, (picture,) * len(gone)).without(gone, text=False)
    return drop(recipe.make(record, rng, reader), operator, rng)


def drop(example: Example, operator: Operator, rng: Random) -> Example:
    """Drop conditions with the operator's chances: each alone, or all together.

    Args:
        example: An example.
        operator: The operator, whose row holds the chances.
        rng: The generator of the choices.

    Returns:
        A new example.
    """
    each = [rng.random() < operator.drop_each for _ in range(len(example.inputs) + 1)]
    everything = rng.random() < operator.drop_all
    gone = [alone or everything for alone in each]
    return example.without(gone[:-1], text=gone[-1] and example.text is not None)


def find_recipe(mode: str, operator_file: str | Path | None = None) -> tuple[Operator, Recipe]:
    """Find an operator and its recipe by name, or in a Python file of the user's own.

    Args:
        mode: The name of an operator, or `texture`, which is the published name of texturing, or
            `base`, the base prior of a stack.
        operator_file: A Python file that defines OPERATOR and RECIPE; it is run, and `mode` is
            not looked at.

    Returns:
        The operator and its recipe.

    Raises:
        UsageError: The name is unknown, or the file defines no operator and recipe.
    """
    if operator_file is not None:
        return _own(expand_home(operator_file))
    trained = {**OPERATORS, BASE.name: BASE}
    name = PUBLISHED_MODES.get(mode, mode)
    check_known("operator", name, trained)
    return trained[name], RECIPES[name]


def _own(path: Path) -> tuple[Operator, Recipe]:
    """Run the user's file, which was named on the command line, and take what it defines."""
    name = f"pops_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"--operator takes a Python file, not {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where worker processes look for its functions
    spec.loader.exec_module(module)
    operator, recipe = getattr(module, "OPERATOR", None), getattr(module, "RECIPE", None)
    if not isinstance(operator, Operator) or not isinstance(recipe, Recipe):
        raise UsageError(f"{path} must define OPERATOR = Operator(...) and RECIPE = Recipe(...)")
    return operator, recipe


# --- the recipes ------------------------------------------------------------------------------


def make_texturing(record: TexturingRecord, rng: Random, reader: Reader) -> Example:
    """Make an example of texturing.

    The target is a variant, the object another picture of the record or the target itself, and the
    texture a patch of the target. With textures from elsewhere, for validation, the texture is one
    of those, and the target is the object.

    Args:
        record: A thing in several materials.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example, with no condition dropped.

    Raises:
        InputError: A file cannot be read, or the object is too small for a patch.
    """
    if not record.variants:
        raise InputError(f"{record.folder} holds no variant of {record.base}")
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
    """Crop a random square of the target inside the object's mask and box."""
    mask = reader.mask_picture(record.mask, target.size)
    x1, y1, x2, y2 = reader.box(record.box, target.size)
    least, most = PATCH_LEAST * min(target.size), PATCH_MOST * min(x2 - x1, y2 - y1)
    patch = find_patch(mask[y1:y2, x1:x2], rng, min(least, max(most, 1)), most)
    if patch is None:
        raise InputError(f"{record.mask}: the object is too small to cut a patch out of it")
    x, y, side = patch
    return target.crop((x1 + x, y1 + y, x1 + x + side, y1 + y + side))


def make_scene(record: SceneRecord, rng: Random, reader: Reader) -> Example:
    """Make an example of scene.

    The target is the scene, the object the same on white or on a random background, and the
    background the scene without the object.

    Args:
        record: An object in its scene.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example, with no condition dropped.

    Raises:
        InputError: A file cannot be read, or the mask does not fit.
    """
    target = reader.picture(record.picture)
    alpha = reader.alpha(record.mask, target.size)
    behind = Image.new("RGB", (1, 1), "white")
    if rng.random() < EVEN and reader.settings.backgrounds:
        behind = reader.random_picture(reader.settings.backgrounds, rng)
    return Example(target, (pasted(target, alpha, behind), reader.picture(record.background)))


def make_union(record: UnionRecord, rng: Random, reader: Reader) -> Example:
    """Make an example of union.

    The target shows two objects; the inputs are these objects alone on white, with random sizes and
    places, in random order.

    Args:
        record: Two objects in one picture.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example, with no condition dropped.

    Raises:
        InputError: A file cannot be read.
    """
    target = reader.picture(record.picture)
    side = min(target.size)
    first, second = (paste_at_random(reader.picture(path), side, rng) for path in record.objects)
    return Example(target, (second, first) if rng.random() < EVEN else (first, second))


def make_instruct(record: PictureRecord, rng: Random, reader: Reader) -> Example:
    """Make an example of instruct.

    Target and input are the same picture. The text is an adjective or a kind of art, and the target
    text names the object with it.

    Args:
        record: A picture whose name says what it shows.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example, with no condition dropped.

    Raises:
        InputError: The picture cannot be read.
    """
    settings = reader.settings
    picture = reader.picture(record.picture)
    adjective = rng.random() < EVEN
    if adjective or not settings.art_types:
        word = rng.choice(settings.adjectives)
        return Example(picture, (picture,), word, target_text=f"A {word} {record.words}")
    word = rng.choice(settings.art_types)
    return Example(picture, (picture,), word, target_text=f"A {word} of a {record.words}")


def make_clothes(record: PersonRecord, rng: Random, reader: Reader) -> Example:
    """Make an example of clothes.

    The target is a person; each input is a garment that the person wears, on white in its own slot,
    or None.

    Args:
        record: A person with a map of labels.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example, with no condition dropped.

    Raises:
        InputError: A file cannot be read, or no garment is large enough.
    """
    picture, pieces = reader.once("garments", lambda: _garments(record, reader))
    side = max(picture.size)
    worn = tuple(piece and paste_at_random(piece, side, rng) for piece in pieces)
    return Example(reader.once("square", lambda: square(picture)), worn)


def _garments(record: PersonRecord, reader: Reader) -> tuple[Image.Image, list[Image.Image | None]]:
    """Open a person and cut out each garment; None for one that is too small to be seen."""
    picture, labels = record.open()
    settings = reader.settings
    pieces = [
        cut_garment(picture, labels == label, settings.garment_side, settings.garment_area)
        for label in GARMENT_LABELS.values()
    ]
    if not any(pieces):
        raise InputError(f"{record.name}: none of its garments is large enough")
    return picture, pieces


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
        Recipe("base", read_captioned, make_captioned),
    )
}
