"""Stage `examples`: pictures that the operators learn from beside those of stage `render`.

More pairs and outfits than the encoders need; and objects with and without an adjective, in one
pose, one material and one place, beside the same place with nothing in it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pops.pocket.build.pictures import build_pictures, dressed
from pops.pocket.world.outfits import random_garments
from pops.pocket.world.scene import Scene, outfit, pair, single, with_adjective
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, MATERIALS, OBJECTS

__all__ = ["build_examples"]


def _any_material(rng: random.Random, shape: str, background: str) -> str:
    """Only of objects are combinations with a place held out; garments may be of anything."""
    return rng.choice(MATERIALS)


def _with_and_without(
    shape: str, adjectives: Sequence[str], materials: int, rng: random.Random
) -> list[Scene]:
    """An object in some materials and three places: as it is, with each adjective, and away."""
    base = single(shape, "red", "studio", rng)
    plain = dressed(base, rng, rng.sample(BACKGROUNDS, 3), materials)
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
        yield _with_and_without(shape, rng.sample(ADJECTIVES, 2), 2, rng)


def _adjectives(rng: random.Random, shard: int) -> Iterator[list[Scene]]:
    for i in range(6):
        shape = OBJECTS[(shard * 6 + i) % len(OBJECTS)]
        yield _with_and_without(shape, ADJECTIVES, 4, rng)


def build_examples(folder: Path, shards: int, seconds: float) -> None:
    """Render what is missing of the shards within the time, into a folder of each kind."""
    for name, contents, many in (
        ("examples", _contents, shards),
        ("adjectives", _adjectives, (shards + 1) // 2),
    ):
        share = seconds * (0.7 if name == "examples" else 0.3)
        build_pictures(folder / name, many, share, name, contents, swatches=False)
