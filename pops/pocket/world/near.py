"""Near misses: what a picture of several things is easily confused with."""

import random
from collections.abc import Sequence

from pops.pocket.world.split import Thing
from pops.pocket.world.vocabulary import GARMENTS, MATERIALS, OBJECTS

__all__ = ["near_outfits", "near_pairs"]


def _another(rng: random.Random, of: Sequence[str], but: Sequence[str]) -> str:
    return rng.choice([one for one in of if one not in but])


def near_pairs(first: Thing, second: Thing, rng: random.Random) -> list[list[Thing]]:
    """List what a picture of two things is easily confused with.

    Args:
        first: the thing on the left, (object, material).
        second: the thing on the right.
        rng: chooses the other objects and materials.

    Returns:
        Pairs of things: the pair in both orders, then with the materials swapped, leaked from one
        thing to the other, an object replaced, and a material replaced.
    """
    (a, m), (b, n) = first, second
    other, colour = _another(rng, OBJECTS, (a, b)), _another(rng, MATERIALS, (m, n))
    return [
        [first, second],
        [second, first],
        [(a, n), (b, m)],
        [(a, m), (b, m)],
        [(a, n), (b, n)],
        [first, (other, n)],
        [(other, m), second],
        [first, (b, colour)],
        [(a, colour), second],
    ]


def near_outfits(things: Sequence[Thing], rng: random.Random) -> list[list[Thing]]:
    """List what a picture of an outfit is easily confused with.

    Args:
        things: the garments, (garment, material) each, at least two.
        rng: chooses which garments change, and into what.

    Returns:
        Outfits: the outfit itself, then with two materials swapped, a material leaked, a garment
        lost, a material replaced and, where another garment can be worn, a garment replaced.
    """
    names, materials = [n for n, _ in things], [m for _, m in things]
    at, other = rng.sample(range(len(things)), 2)

    def changed(place: int, name: str, material: str) -> list[Thing]:
        return [(name, material) if i == place else t for i, t in enumerate(things)]

    swapped = changed(at, names[at], materials[other])
    swapped[other] = (names[other], materials[at])
    worn = {*names, *(("skirt", "trousers") if {"skirt", "trousers"} & {*names} else ())}
    outfits = [
        list(things),
        swapped,
        changed(at, names[at], materials[other]),
        changed(other, names[other], materials[at]),
        [t for i, t in enumerate(things) if i != at],
        [t for i, t in enumerate(things) if i != other],
        changed(at, names[at], _another(rng, MATERIALS, materials)),
        changed(other, names[other], _another(rng, MATERIALS, materials)),
    ]
    if len(worn) < len(GARMENTS):
        replaced = changed(at, _another(rng, GARMENTS, tuple(worn)), materials[at])
        outfits.append(replaced)
    return outfits
