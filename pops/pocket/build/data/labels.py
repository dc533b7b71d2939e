"""What a record says, as numbers to learn from."""

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

# Questions about a picture and the number of their answers; "none" is an answer. Of two things
# the left one is asked about first.
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
SAMPLES = 8  # along a side of a piece, which tell what it shows
FAVOUR = 4  # how much more a thing counts than what is round it
# What a piece of a picture can show: an object, a garment, the mannequin, or a place.
WHAT = (*OBJECTS, *(f"worn {g}" for g in GARMENTS), "mannequin", *BACKGROUNDS)


def answer(record: Mapping[str, Any]) -> dict[str, int]:
    """The right answer to every question about one record; IGNORE where it is not asked."""
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
    """The right answers (N,) to every question of `CLASSES`."""
    answers = [answer(record) for record in records]
    return {name: torch.tensor([a[name] for a in answers]) for name in CLASSES}


def thing_labels(record: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(what, material) of the place and of each item of a picture, as numbers."""
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
    """What every piece of a picture shows, and of what: two of (N, grid * grid).

    It is what most of the piece shows, but that things count more than what is round them, so that
    shoes and hats, which fill no piece, are told as well.

    `seen`: which item is where, (N, H, H), 0 for the place.
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
