"""What the pocket benchmark asks of operators on several things: pairs, and outfits.

The galleries hold, for every answer, what goes wrong when attributes leak or a thing is lost.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from PIL import Image

from pops.evaluation.pocket.single import (
    SIZE,
    Entry,
    Shown,
    Source,
    Task,
    alone,
    recut,
    same_things,
)
from pops.operators import GARMENTS as SLOTS
from pops.pocket.world.cutout import garment_cutouts, garment_scene, pixels_picture
from pops.pocket.world.outfits import random_garments
from pops.pocket.world.scene import Item, Scene, outfit, pair, single
from pops.pocket.world.split import Thing, held_out_pairs, is_held_out, is_held_out_outfit
from pops.pocket.world.vocabulary import BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = ["clothes", "union"]

TEMPLATES = 6  # geometries of pairs and of outfits in a gallery
OUTFITS = 240

_FAULTS: dict[str, Callable[[Shown, Shown], bool]] = {
    "object_and_material": same_things,
    "leak": Shown.leaks,
    "lost": Shown.loses,
}


def _another(rng: random.Random, of: Sequence[str], but: Sequence[str]) -> str:
    return rng.choice([one for one in of if one not in but])


def _beside(
    first: Thing, second: Thing, background: str, template: Scene, rng: random.Random
) -> list[Entry]:
    """Both orders of a pair, and what goes wrong: swapped, leaked, lost, replaced, recoloured."""
    (a, m), (b, n) = first, second
    other, colour = _another(rng, OBJECTS, (a, b)), _another(rng, MATERIALS, (m, n))
    pairs = [
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
    scenes = [
        (Shown(frozenset(things), background), recut(template, rng, things, background))
        for things in pairs
    ]
    for thing in (first, second):
        scenes.append((alone(*thing, background), single(*thing, background, rng)))
    return scenes


def union(limit: int | None) -> Task:
    """(a thing, another, each alone in one place) -> both there, in any order."""
    rng = random.Random("union")
    red = ("ball", "red")
    templates = [pair(red, red, "studio", rng) for _ in range(TEMPLATES)]
    gallery: list[Entry] = []
    inputs: list[tuple[Source, ...]] = []
    wanted, twins = [], []
    for i, (first, second) in enumerate(held_out_pairs()[:limit]):
        free = [
            b for b in BACKGROUNDS if not is_held_out(*first, b) and not is_held_out(*second, b)
        ]
        # Every second one in the studio, as objects cut out on white would be.
        place = "studio" if i % 2 == 0 and "studio" in free else rng.choice(free)
        gallery += _beside(first, second, place, templates[i % TEMPLATES], rng)
        order = [first, second]
        rng.shuffle(order)
        inputs.append(tuple(single(*thing, place, rng) for thing in order))
        wanted.append(Shown(frozenset((first, second)), place))
        twins.append(pair(first, second, place, rng))
    return Task(inputs, wanted, twins, gallery, shares=_FAULTS)


def _worn(things: Sequence[Thing], template: Scene, rng: random.Random) -> Entry:
    mannequin, garment = template.items
    items: list[Item] = [mannequin]
    for name, material in things:
        cut = rng.uniform(0, 20)
        items.append(replace(garment, shape=f"worn {name}", material=material, phase=cut))
    return Shown(frozenset(things), "studio"), replace(template, items=tuple(items))


def _outfits(things: Sequence[Thing], template: Scene, rng: random.Random) -> list[Entry]:
    """An outfit, and what goes wrong: swapped, leaked, lost, replaced, recoloured."""
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
        changed(at, _another(rng, GARMENTS, tuple(worn)), materials[at]),
    ]
    return [_worn(each, template, rng) for each in outfits]


def _held_out_outfits(rng: random.Random) -> list[tuple[Thing, ...]]:
    found: dict[frozenset[Thing], tuple[Thing, ...]] = {}
    while len(found) < OUTFITS:
        worn = random_garments(rng, most=5)
        things = tuple(zip(worn, rng.sample(MATERIALS, len(worn)), strict=True))
        if len(worn) > 1 and is_held_out_outfit((f"worn {n}", m) for n, m in things):
            found[frozenset(things)] = things
    return list(found.values())


def _garment_pictures(
    things: Iterable[Thing], rng: random.Random
) -> dict[Thing, dict[str, Image.Image]]:
    """Garments alone in their materials, by slot; each shares a few geometries."""
    wanted = sorted(set(things))
    found = {}
    for garment in GARMENTS:
        poses = [garment_scene(garment, "red", rng) for _ in range(TEMPLATES)]
        own = [thing for thing in wanted if thing[0] == garment]
        scenes = [
            recut(poses[i % TEMPLATES], rng, [(f"worn {name}", material)], "studio")
            for i, (name, material) in enumerate(own)
        ]
        every = garment_cutouts(scenes, SIZE) if scenes else []
        for thing, cuts in zip(own, every, strict=True):
            found[thing] = {slot: pixels_picture(cut) for slot, cut in cuts.items()}
    return found


def clothes(limit: int | None) -> Task:
    """(garments, each alone on white in its slot) -> a person who wears just these."""
    rng = random.Random("clothes")
    templates = [outfit([("hat", "red")], "studio", rng) for _ in range(TEMPLATES)]
    outfits = _held_out_outfits(rng)[:limit]
    portraits = _garment_pictures((thing for things in outfits for thing in things), rng)
    gallery: list[Entry] = []
    inputs: list[tuple[Source, ...]] = []
    wanted, twins = [], []
    for i, things in enumerate(outfits):
        gallery += _outfits(things, templates[i % TEMPLATES], rng)
        given = {slot: cut for thing in things for slot, cut in portraits[thing].items()}
        inputs.append(tuple(given.get(slot) for slot in SLOTS))
        wanted.append(Shown(frozenset(things), "studio"))
        twins.append(outfit(things, "studio", rng))
    return Task(inputs, wanted, twins, gallery, shares=_FAULTS)
