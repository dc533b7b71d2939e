"""Combinations that no part of the pocket stack ever sees in training.

A fixed, random-looking 8% of all (object, material, background) combinations: every object,
material and background is seen often, so that none is a function of the other two.
"""

import hashlib
from functools import cache

from pops.pocket.world.vocabulary import BACKGROUNDS, MATERIALS, OBJECTS

__all__ = ["HELD_OUT_SHARE", "SPLIT_NAME", "Combination", "combinations", "held_out", "is_held_out"]

SPLIT_NAME = "pocket-v1"
HELD_OUT_SHARE = 0.08

Combination = tuple[str, str, str]  # object, material, background


@cache
def is_held_out(shape: str, material: str, background: str) -> bool:
    """Whether the combination belongs to the held-out split."""
    text = f"{SPLIT_NAME}/{shape}/{material}/{background}"
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return draw < HELD_OUT_SHARE


@cache
def combinations() -> tuple[Combination, ...]:
    """Every combination, in a fixed order."""
    return tuple((o, m, b) for o in OBJECTS for m in MATERIALS for b in BACKGROUNDS)


@cache
def held_out() -> tuple[Combination, ...]:
    """The held-out combinations, in a fixed order."""
    return tuple(c for c in combinations() if is_held_out(*c))
