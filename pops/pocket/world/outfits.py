"""Garments that are worn together."""

import random

from pops.pocket.world.vocabulary import GARMENTS

__all__ = ["random_garments"]


def random_garments(rng: random.Random, least: int = 2, most: int = 6) -> list[str]:
    """Choose some garments that can be worn together.

    Args:
        rng: chooses them.
        least: the smallest number that is drawn.
        most: the largest number that is drawn.

    Returns:
        Names in `GARMENTS`, without a skirt beside trousers.
    """
    worn = rng.sample(GARMENTS, rng.randint(least, most))
    return [g for g in worn if not (g == "skirt" and "trousers" in worn)]
