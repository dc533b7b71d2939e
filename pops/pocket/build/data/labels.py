"""The answers that a record of a picture gives to questions about it, as numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.world.vocabulary import (
    ADJECTIVES,
    BACKGROUNDS,
    GARMENTS,
    MATERIALS,
    OBJECTS,
)

__all__ = [
    "CLASSES",
    "IGNORE",
    "NOTHING",
    "PERSON",
    "WHAT",
    "answer",
    "labels",
    "piece_labels",
    "thing_labels",
]

IGNORE = -100
_NO_OBJECT, PERSON = len(OBJECTS), len(OBJECTS) + 1
_GARMENT = len(OBJECTS) + 2  # the first of the garments, each seen alone
_NO_MATERIAL, _NO_PLACE, _NOT_WORN = len(MATERIALS), len(BACKGROUNDS), len(MATERIALS)

# Questions about a picture and the number of their answers; "none" is an answer. `object` and
# `material` ask about the left one of two things, `object_b` and `material_b` about the right one.
CLASSES: dict[str, int] = {
    "object": _GARMENT + len(GARMENTS),
    "material": len(MATERIALS) + 1,
    "object_b": len(OBJECTS) + 1,
    "material_b": len(MATERIALS) + 1,
    "background": len(BACKGROUNDS) + 1,
    "adjective": len(ADJECTIVES) + 1,
    **{f"worn {g}": len(MATERIALS) + 1 for g in GARMENTS},
}

# The answers about a picture that shows nothing.
NOTHING: dict[str, int] = {
    "object": _NO_OBJECT,
    "material": _NO_MATERIAL,
    "object_b": _NO_OBJECT,
    "material_b": _NO_MATERIAL,
    "background": _NO_PLACE,
    "adjective": len(ADJECTIVES),
    **{f"worn {g}": _NOT_WORN for g in GARMENTS},
}
SAMPLES = 8  # pixels along a side of a piece that are looked at to tell what it shows
FAVOUR = 4  # how much more a pixel of a thing counts than one of what is round it
# What a piece of a picture can show: an object, a garment, the mannequin, or a place.
WHAT = (*OBJECTS, *(f"worn {g}" for g in GARMENTS), "mannequin", *BACKGROUNDS)


def answer(record: Mapping[str, Any]) -> dict[str, int]:
    """Answer every question about one picture.

    Args:
        record: the record of the picture.

    Returns:
        Question -> number of the right answer, those of `NOTHING` where nothing is shown.
    """
    found = dict(NOTHING)
    if record.get("background"):
        found["background"] = BACKGROUNDS.index(record["background"])
    if record.get("adjective"):
        found["adjective"] = ADJECTIVES.index(record["adjective"])
    if record["kind"] == "outfit":
        found |= {"object": PERSON}
        found |= {shape: MATERIALS.index(material) for shape, material in record["things"]}
        return found
    for suffix, (shape, material) in zip(("", "_b"), record["things"], strict=False):
        found[f"material{suffix}"] = MATERIALS.index(material)
        if shape in OBJECTS:
            found[f"object{suffix}"] = OBJECTS.index(shape)
        elif shape:
            found[f"object{suffix}"] = _GARMENT + GARMENTS.index(shape.removeprefix("worn "))
    return found


def labels(records: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Answer every question about N pictures.

    Args:
        records: the records of the pictures.

    Returns:
        Question of `CLASSES` -> right answers (N,).
    """
    answers = [answer(record) for record in records]
    return {name: torch.tensor([a[name] for a in answers]) for name in CLASSES}


def thing_labels(record: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Tell what the background and each item of a picture is.

    Args:
        record: the record of the picture.

    Returns:
        (number in `WHAT`, number of the material) of the background and then of each item; IGNORE
        where it is not known.
    """
    place = record.get("background")
    found = [(WHAT.index(place) if place else IGNORE, _NO_MATERIAL)]
    if record["kind"] == "swatch":
        return [*found, (IGNORE, MATERIALS.index(record["things"][0][1]))]
    if record["kind"] == "outfit":
        found.append((WHAT.index("mannequin"), _NO_MATERIAL))
    for shape, material in record["things"]:
        found.append((WHAT.index(shape), MATERIALS.index(material)))
    return found


def piece_labels(
    records: Sequence[Mapping[str, Any]], seen: Tensor, grid: int
) -> tuple[Tensor, Tensor]:
    """Tell what every piece of N pictures shows, and of what material it is.

    A piece shows what most of its pixels show. Things count more than what is round them, so that
    shoes and hats, which fill no piece, are told as well.

    Args:
        records: the records of the pictures.
        seen: (N, H, H), the number of the item that each pixel shows, 0 for the background.
        grid: pieces along a side of a picture.

    Returns:
        Two (N, grid * grid): numbers in `WHAT`, and numbers of materials.
    """
    n, side = len(records), SAMPLES
    sampled = F.interpolate(seen[:, None].float(), (grid * side,) * 2, mode="nearest").byte()
    pieces = sampled.reshape(n, grid, side, grid, side).transpose(2, 3).reshape(n, grid * grid, -1)
    items = int(pieces.max()) + 1
    held = torch.stack([(pieces == i).sum(2) for i in range(items)], 2)
    what, material = (torch.empty(n, grid * grid, dtype=torch.long) for _ in range(2))
    for i, record in enumerate(records):
        table = thing_labels(record)
        round_them = 1 + (record["kind"] == "outfit")  # the place, and the mannequin
        weight = torch.full((items,), FAVOUR)
        weight[:round_them] = 1
        # The copies of many things are of one kind.
        shown = (held[i] * weight).argmax(1).clamp_max(len(table) - 1)
        what[i], material[i] = torch.tensor(table)[shown].T
    return what, material
