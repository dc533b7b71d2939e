"""Families of scenes that are easily confused, which make up a shard of training pictures.

A content is what a scene shows: things, materials, a background, an adjective. A family is a few
contents, each a near miss of the others: materials are swapped, one thing is replaced or missing,
or the adjective is another. All contents of a family are drawn in two geometries (camera, light and
pose). So every picture has another one of the same content, and many of nearly the same. Pictures
of one geometry differ in their contents alone, and their geometry is traced once. Nothing that is
held out, for the benchmark or for choosing settings, is in any family.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pops.pocket.world.near import near_outfits, near_pairs
from pops.pocket.world.outfits import random_garments
from pops.pocket.world.scene import Item, Scene, outfit, pair, single, with_adjective
from pops.pocket.world.split import Thing, is_held_out, is_held_out_outfit, is_held_out_pair
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, MATERIALS, OBJECTS

__all__ = ["families", "may_be_seen"]

GEOMETRIES = 2  # in which every content is drawn
STUDIO = 0.4  # share of pairs in the white studio, where things that are cut out on white belong
STUDIO_OUTFITS = 0.7  # share of outfits there
# Families of each kind in a shard.
SINGLES, ADJECTIVE_FAMILIES, PAIRS, OUTFITS = 12, 4, 8, 7


def may_be_seen(scene: Scene) -> bool:
    """Tell whether training may show a scene.

    Args:
        scene: the scene.

    Returns:
        Whether nothing in it is held out.
    """
    things: list[Thing] = [(i.shape, i.material) for i in scene.things]
    if any(i.shape == "mannequin" for i in scene.items):
        return not is_held_out_outfit(things)
    if any(is_held_out(shape, material, scene.background) for shape, material in things):
        return False
    return len(things) != 2 or not is_held_out_pair(*things)


def _made_of(template: Scene, things: Sequence[Thing], rng: random.Random) -> Scene:
    """Put other things where those of a scene are, each with a grain of its own."""
    items = tuple(
        replace(item, shape=shape, material=material, phase=rng.uniform(0.0, 20.0))
        for item, (shape, material) in zip(template.items, things, strict=False)
    )
    return replace(template, items=items)


def _in_place(scenes: Sequence[Scene], background: str, rng: random.Random) -> list[Scene]:
    """Give all scenes one background, and show the same part of it."""
    phase = rng.uniform(0.0, 20.0)
    return [replace(scene, background=background, phase=phase) for scene in scenes]


# --- kinds of family ------------------------------------------------------------------------


def _single(shape: str, rng: random.Random) -> list[Scene]:
    """Show an object in front of three backgrounds, in four materials before each."""
    drawn = {
        place: rng.sample([m for m in MATERIALS if not is_held_out(shape, m, place)], 4)
        for place in rng.sample(BACKGROUNDS, 3)
    }
    scenes = []
    for _ in range(GEOMETRIES):
        base = single(shape, "red", "studio", rng)
        for place, materials in drawn.items():
            made = [_made_of(base, [(shape, material)], rng) for material in materials]
            scenes += _in_place(made, place, rng)
    return scenes


def _adjectives(shape: str, rng: random.Random) -> list[Scene]:
    """Show an object in two materials, plain and with every adjective, and the empty place."""
    place = "studio" if rng.random() < STUDIO else rng.choice(BACKGROUNDS)
    materials = rng.sample([m for m in MATERIALS if not is_held_out(shape, m, place)], 2)
    scenes = []
    for _ in range(GEOMETRIES):
        base = single(shape, "red", "studio", rng)
        plain = _in_place([_made_of(base, [(shape, m)], rng) for m in materials], place, rng)
        scenes += plain
        for adjective in ADJECTIVES:
            stands = rng.random()  # many things stand in the same places, to be traced once
            scenes += [with_adjective(s, adjective, random.Random(stands)) for s in plain]
        scenes.append(replace(plain[0], items=()))
    return scenes


def _pairs(rng: random.Random) -> list[Scene]:
    """Show two things beside each other, and all that is nearly that."""
    (a, b), (m, n) = rng.sample(OBJECTS, 2), rng.sample(MATERIALS, 2)
    contents = near_pairs((a, m), (b, n), rng)
    place = "studio" if rng.random() < STUDIO else rng.choice(BACKGROUNDS)
    scenes = []
    for _ in range(GEOMETRIES):
        base = pair(("ball", "red"), ("ball", "red"), "studio", rng)
        scenes += _in_place([_made_of(base, things, rng) for things in contents], place, rng)
    return scenes


def _outfits(rng: random.Random) -> list[Scene]:
    """Show a person in some garments, and in nearly those."""
    names = random_garments(rng)
    while len(names) < 2:
        names = random_garments(rng)
    materials = rng.sample(MATERIALS, len(names))
    contents = near_outfits(list(zip(names, materials, strict=True)), rng)
    place = "studio" if rng.random() < STUDIO_OUTFITS else rng.choice(BACKGROUNDS)
    scenes = []
    for _ in range(GEOMETRIES):
        base = outfit([("hat", "red")], "studio", rng)
        body, garment = base.items
        made = []
        for things in contents:
            worn: list[Item] = [body]
            for name, material in things:
                cut = rng.uniform(0.0, 20.0)
                worn.append(replace(garment, shape=f"worn {name}", material=material, phase=cut))
            made.append(replace(base, items=tuple(worn)))
        scenes += _in_place(made, place, rng)
    return scenes


def families(rng: random.Random, shard: int) -> Iterator[list[Scene]]:
    """Make the families of a shard.

    Args:
        rng: chooses contents and geometries.
        shard: the number of the shard; shards take turns with the objects they show.

    Yields:
        The scenes of each family, without those that are held out; last, every background alone.
    """

    def shapes(n: int) -> list[str]:
        return [OBJECTS[(shard * n + i) % len(OBJECTS)] for i in range(n)]

    kinds: list[tuple[int, Callable[[int], list[Scene]]]] = [
        (SINGLES, lambda i: _single(shapes(SINGLES)[i], rng)),
        (ADJECTIVE_FAMILIES, lambda i: _adjectives(shapes(ADJECTIVE_FAMILIES)[i], rng)),
        (PAIRS, lambda _: _pairs(rng)),
        (OUTFITS, lambda _: _outfits(rng)),
    ]
    for many, family in kinds:
        for i in range(many):
            if seen := [scene for scene in family(i) if may_be_seen(scene)]:
                yield seen
    yield [
        Scene((), b, single("ball", "red", b, rng).view, phase=rng.uniform(0, 20))
        for b in BACKGROUNDS
    ]
