"""What a record says, as numbers to learn from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pops.pocket.world.vocabulary import (
    ADJECTIVES,
    BACKGROUNDS,
    GARMENTS,
    MATERIALS,
    OBJECTS,
)

__all__ = ["CLASSES", "IGNORE", "labels", "swatch_labels"]

IGNORE = -100
_NO_OBJECT, _PERSON = len(OBJECTS), len(OBJECTS) + 1
_NO_MATERIAL, _NO_PLACE, _NOT_WORN = len(MATERIALS), len(BACKGROUNDS), len(MATERIALS)

# Questions about a picture and the number of their answers; "none" is an answer.
CLASSES: dict[str, int] = {
    "object": len(OBJECTS) + 2,
    "material": len(MATERIALS) + 1,
    "object_b": len(OBJECTS) + 1,
    "material_b": len(MATERIALS) + 1,
    "background": len(BACKGROUNDS) + 1,
    "adjective": len(ADJECTIVES) + 1,
    **{f"worn {g}": len(MATERIALS) + 1 for g in GARMENTS},
}


def _one(record: dict[str, Any]) -> dict[str, int]:
    answer = {
        "object": _NO_OBJECT,
        "material": _NO_MATERIAL,
        "object_b": _NO_OBJECT,
        "material_b": _NO_MATERIAL,
        "background": _NO_PLACE,
        "adjective": len(ADJECTIVES),
        **{f"worn {g}": _NOT_WORN for g in GARMENTS},
    }
    if record["kind"] != "swatch":
        answer["background"] = BACKGROUNDS.index(record["background"])
    if record.get("adjective"):
        answer["adjective"] = ADJECTIVES.index(record["adjective"])
    if record["kind"] == "outfit":
        answer |= {"object": _PERSON, "material": IGNORE, "object_b": IGNORE, "material_b": IGNORE}
        answer |= {shape: MATERIALS.index(material) for shape, material in record["things"]}
        return answer
    for suffix, (shape, material) in zip(("", "_b"), record["things"], strict=False):
        answer[f"material{suffix}"] = MATERIALS.index(material)
        if shape:
            answer[f"object{suffix}"] = OBJECTS.index(shape)
    return answer


def labels(records: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """The right answer (N,) to every question of `CLASSES`; IGNORE where it is not asked."""
    answers = [_one(r) for r in records]
    return {name: torch.tensor([a[name] for a in answers]) for name in CLASSES}


def swatch_labels(material: int) -> dict[str, int]:
    """The answers about a bare piece of a material, such as a patch cut from an object."""
    return _one({"kind": "swatch", "things": [["", MATERIALS[material]]]})
