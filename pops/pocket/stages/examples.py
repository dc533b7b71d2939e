"""Stage `examples`: pictures that the operators learn from beside those of stage `render`.

More pairs and outfits than the encoders need; and objects with and without an adjective, in one
pose, one material and one place, beside the same place with nothing in it.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pops.pocket.stages.pictures import build_pictures, dressed
from pops.pocket.world.scene import Scene, outfit, pair, single, with_adjective
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = ["build_examples", "random_garments"]


def random_garments(rng: random.Random, least: int = 2, most: int = 6) -> list[str]:
    """Some garments that can be worn together."""
    worn = rng.sample(GARMENTS, rng.randint(least, most))
    return [g for g in worn if not (g == "skirt" and "trousers" in worn)]


def _any_material(rng: random.Random, shape: str, background: str) -> str:
    """Only of objects are combinations with a place held out; garments may be of anything."""
    return rng.choice(MATERIALS)


def _with_and_without(shape: str, adjectives: list[str], rng: random.Random) -> list[Scene]:
    """An object in two materials and three places: as it is, with each adjective, and away."""
    plain = dressed(single(shape, "red", "studio", rng), rng, rng.sample(BACKGROUNDS, 3), 2)
    scenes = list(plain)
    for adjective in adjectives:
        places = rng.random()  # many things stand in the same places, to be traced once
        scenes += [with_adjective(scene, adjective, random.Random(places)) for scene in plain]
    empty = {scene.background: replace(scene, items=()) for scene in plain}
    return [*scenes, *empty.values()]


def _contents(rng: random.Random, shard: int) -> Iterator[list[Scene]]:
    """What is cut out on white belongs into a white place: half the pairs, all the outfits."""
    elsewhere = [b for b in BACKGROUNDS if b != "studio"]
    for _ in range(16):
        left, right = rng.sample(OBJECTS, 2)
        base = pair((left, "red"), (right, "red"), "studio", rng)
        yield dressed(base, rng, ["studio"], 8) + dressed(base, rng, rng.sample(elsewhere, 2), 4)
    for _ in range(10):
        worn = [(g, "red") for g in random_garments(rng)]
        yield dressed(outfit(worn, "studio", rng), rng, ["studio"], 20, _any_material)
    for i in range(4):
        shape = OBJECTS[(shard * 4 + i) % len(OBJECTS)]
        yield _with_and_without(shape, rng.sample(ADJECTIVES, 2), rng)


def build_examples(folder: Path, shards: int, seconds: float) -> bool:
    """Render what is missing of the shards within the time; True when all are there."""
    return build_pictures(folder, shards, seconds, "examples", _contents, swatches=False)
