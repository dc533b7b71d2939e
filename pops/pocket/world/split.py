"""Combinations that no part of the pocket stack ever sees in training.

A fixed, random-looking 8% of all (object, material, background) combinations: every object,
material and background is seen often, so that none is a function of the other two.
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
    "combinations",
    "held_out",
    "held_out_pairs",
    "is_held_out",
    "is_held_out_outfit",
    "is_held_out_pair",
]

SPLIT_NAME = "pocket-v1"
HELD_OUT_SHARE = 0.08
# The first numbered split of pairs of which the shards that the shipped encoders learnt from
# happen to have none, so that these pairs are new to encoders and operators alike.
PAIR_SPLIT = "pocket-pairs-20807"
HELD_OUT_PAIRS = 0.003
OUTFIT_SPLIT = "pocket-outfits-v1"
HELD_OUT_OUTFITS = 0.1

Combination = tuple[str, str, str]  # object, material, background
Thing = tuple[str, str]  # object or garment, material


def _draw(text: str) -> float:
    """A number in [0, 1) that looks random and is always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


@cache
def is_held_out(shape: str, material: str, background: str) -> bool:
    """Whether the combination belongs to the held-out split."""
    return _draw(f"{SPLIT_NAME}/{shape}/{material}/{background}") < HELD_OUT_SHARE


def _together(split: str, things: Iterable[Thing]) -> float:
    return _draw(f"{split}/{'+'.join(sorted('/'.join(thing) for thing in things))}")


@cache
def is_held_out_pair(first: Thing, second: Thing) -> bool:
    """Whether no training shows the two things beside each other, in any order or place."""
    return _together(PAIR_SPLIT, (first, second)) < HELD_OUT_PAIRS


def is_held_out_outfit(garments: Iterable[Thing]) -> bool:
    """Whether no operator is trained on a person who wears just these."""
    return _together(OUTFIT_SPLIT, garments) < HELD_OUT_OUTFITS


@cache
def combinations() -> tuple[Combination, ...]:
    """Every combination, in a fixed order."""
    return tuple((o, m, b) for o in OBJECTS for m in MATERIALS for b in BACKGROUNDS)


@cache
def held_out() -> tuple[Combination, ...]:
    """The held-out combinations, in a fixed order."""
    return tuple(c for c in combinations() if is_held_out(*c))


@cache
def held_out_pairs() -> tuple[tuple[Thing, Thing], ...]:
    """The held-out pairs of two objects in two materials, in a fixed order."""
    pairs = (
        ((a, m), (b, n)) for a, b in choose(OBJECTS, 2) for m, n in product(MATERIALS, repeat=2)
    )
    return tuple(pair for pair in pairs if pair[0][1] != pair[1][1] and is_held_out_pair(*pair))
