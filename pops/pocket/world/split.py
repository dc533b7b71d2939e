"""The held-out combinations, pairs and outfits, which no part of the pocket stack ever learns.

A fixed, random-looking 8% of all (object, material, background) combinations: every object,
material and background is seen often, so that none is a function of the other two. Beside these,
of which the benchmark asks, stand others of its kind for choosing settings: the validation splits.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from itertools import combinations as choose
from itertools import product

from pops.pocket.world.vocabulary import BACKGROUNDS, MATERIALS, OBJECTS

__all__ = [
    "HELD_OUT_SHARE",
    "OUTFIT_SPLIT",
    "PAIR_SPLIT",
    "SPLIT_NAME",
    "Combination",
    "Thing",
    "combination_split",
    "combinations",
    "held_out",
    "held_out_pairs",
    "is_held_out",
    "is_held_out_outfit",
    "is_held_out_pair",
    "outfit_split",
    "pair_split",
]

SPLIT_NAME = "pocket-v1"
HELD_OUT_SHARE = 0.08
PAIR_SPLIT = "pocket-pairs-20807"
HELD_OUT_PAIRS = 0.003
OUTFIT_SPLIT = "pocket-outfits-v1"
HELD_OUT_OUTFITS = 0.1
VALIDATION = "/validation"  # after a split's name: the split on which settings are chosen
VALIDATION_SHARE, VALIDATION_PAIRS, VALIDATION_OUTFITS = 0.03, 0.002, 0.05

Combination = tuple[str, str, str]  # object, material, background
Thing = tuple[str, str]  # object or garment, material


def _draw(text: str) -> float:
    """Draw a number in [0, 1) that looks random and is always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _split(name: str, what: str, test: float, validation: float) -> str:
    """Find the split of something: "test", "validation" or, where it may be learnt, "train"."""
    if _draw(f"{name}/{what}") < test:
        return "test"
    return "validation" if _draw(f"{name}{VALIDATION}/{what}") < validation else "train"


def _together(things: Iterable[Thing]) -> str:
    return "+".join(sorted("/".join(thing) for thing in things))


@cache
def combination_split(shape: str, material: str, background: str) -> str:
    """Tell which split an object in a material before a background belongs to.

    Args:
        shape: a name in `OBJECTS`.
        material: a name in `MATERIALS`.
        background: a name in `BACKGROUNDS`.

    Returns:
        "train", "validation" or "test".
    """
    what = f"{shape}/{material}/{background}"
    return _split(SPLIT_NAME, what, HELD_OUT_SHARE, VALIDATION_SHARE)


@cache
def pair_split(first: Thing, second: Thing) -> str:
    """Tell which split two things beside each other belong to, in any order and place.

    Args:
        first: (object, material) of one thing.
        second: the same of the other.

    Returns:
        "train", "validation" or "test".
    """
    what = _together((first, second))
    return _split(PAIR_SPLIT, what, HELD_OUT_PAIRS, VALIDATION_PAIRS)


def outfit_split(garments: Iterable[Thing]) -> str:
    """Tell which split a person who wears just these garments belongs to.

    Args:
        garments: (garment, material) of each; the garments are named as shapes, "worn hat".

    Returns:
        "train", "validation" or "test".
    """
    return _split(OUTFIT_SPLIT, _together(garments), HELD_OUT_OUTFITS, VALIDATION_OUTFITS)


def is_held_out(shape: str, material: str, background: str) -> bool:
    """Tell whether no training shows a combination.

    Args:
        shape: a name in `OBJECTS`.
        material: a name in `MATERIALS`.
        background: a name in `BACKGROUNDS`.

    Returns:
        True for the combinations of the splits "validation" and "test".
    """
    return combination_split(shape, material, background) != "train"


def is_held_out_pair(first: Thing, second: Thing) -> bool:
    """Tell whether no training shows two things beside each other, in any order or place.

    Args:
        first: (object, material) of one thing.
        second: the same of the other.

    Returns:
        True for the pairs of the splits "validation" and "test".
    """
    return pair_split(first, second) != "train"


def is_held_out_outfit(garments: Iterable[Thing]) -> bool:
    """Tell whether no training shows a person who wears just these garments.

    Args:
        garments: (garment, material) of each; the garments are named as shapes, "worn hat".

    Returns:
        True for the outfits of the splits "validation" and "test".
    """
    return outfit_split(garments) != "train"


@cache
def combinations() -> tuple[Combination, ...]:
    """List all combinations of object, material and background.

    Returns:
        The combinations, always in the same order.
    """
    return tuple((o, m, b) for o in OBJECTS for m in MATERIALS for b in BACKGROUNDS)


@cache
def held_out(split: str = "test") -> tuple[Combination, ...]:
    """List the combinations of a split.

    Args:
        split: "train", "validation" or "test".

    Returns:
        The combinations, always in the same order.
    """
    return tuple(c for c in combinations() if combination_split(*c) == split)


@cache
def held_out_pairs(split: str = "test") -> tuple[tuple[Thing, Thing], ...]:
    """List the pairs of two objects in two materials that belong to a split.

    Args:
        split: "train", "validation" or "test".

    Returns:
        The pairs, always in the same order.
    """
    pairs = (
        ((a, m), (b, n)) for a, b in choose(OBJECTS, 2) for m, n in product(MATERIALS, repeat=2)
    )
    return tuple(pair for pair in pairs if pair[0][1] != pair[1][1] and pair_split(*pair) == split)
