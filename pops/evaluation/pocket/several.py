"""Tasks of the pocket benchmark for operators on several things: pairs, and outfits.

The galleries hold, for every answer, what goes wrong when attributes leak or a thing is lost.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from PIL import Image

from pops.evaluation.pocket.judged import OUTFIT, PAIR
from pops.evaluation.pocket.shown import Shown, alone
from pops.evaluation.pocket.task import Asking, Entry, Source, Task, recut, same_things
from pops.operators import GARMENTS as SLOTS
from pops.pocket.world.cutout import garment_cutouts, garment_scene, pixels_picture
from pops.pocket.world.near import near_outfits, near_pairs
from pops.pocket.world.outfits import random_garments
from pops.pocket.world.scene import Item, Scene, outfit, pair, single
from pops.pocket.world.split import Thing, combination_split, held_out_pairs, outfit_split
from pops.pocket.world.vocabulary import BACKGROUNDS, GARMENTS, MATERIALS

__all__ = ["clothes", "union"]

TEMPLATES = 6  # geometries of pairs and of outfits in a gallery
OUTFITS = 240

_FAULTS: dict[str, Callable[[Shown, Shown], bool]] = {
    "object_and_material": same_things,
    "leak": Shown.leaks,
    "lost": Shown.loses,
}


def _beside(
    first: Thing, second: Thing, background: str, template: Scene, rng: random.Random
) -> list[Entry]:
    """List both orders of a pair, its near misses, and each thing alone."""
    scenes = [
        (Shown(frozenset(things), background), recut(template, rng, things, background))
        for things in near_pairs(first, second, rng)
    ]
    for thing in (first, second):
        scenes.append((alone(*thing, background), single(*thing, background, rng)))
    return scenes


def union(asking: Asking) -> Task:
    """Ask for two things beside each other, each of which is shown alone in the same place.

    Args:
        asking: the size of the pictures, the split, and the number of requests.

    Returns:
        The task.
    """
    rng = asking.rng("union")
    red = ("ball", "red")
    templates = [pair(red, red, "studio", rng) for _ in range(TEMPLATES)]
    gallery: list[Entry] = []
    inputs: list[tuple[Source, ...]] = []
    wanted, twins = [], []
    for i, (first, second) in enumerate(asking.limited(held_out_pairs(asking.split))):
        free = [
            b
            for b in BACKGROUNDS
            if all(combination_split(*thing, b) != "test" for thing in (first, second))
        ]
        # Every second one in the studio, as objects cut out on white would be.
        place = "studio" if i % 2 == 0 and "studio" in free else rng.choice(free)
        gallery += _beside(first, second, place, templates[i % TEMPLATES], rng)
        order = [first, second]
        rng.shuffle(order)
        inputs.append(tuple(single(*thing, place, rng) for thing in order))
        wanted.append(Shown(frozenset((first, second)), place))
        twins.append(pair(first, second, place, rng))
    return Task(inputs, wanted, twins, gallery, PAIR, shares=_FAULTS)


def _worn(things: Sequence[Thing], template: Scene, rng: random.Random) -> Entry:
    mannequin, garment = template.items
    items: list[Item] = [mannequin]
    for name, material in things:
        cut = rng.uniform(0, 20)
        items.append(replace(garment, shape=f"worn {name}", material=material, phase=cut))
    return Shown(frozenset(things), "studio"), replace(template, items=tuple(items))


def _held_out_outfits(rng: random.Random, split: str) -> list[tuple[Thing, ...]]:
    found: dict[frozenset[Thing], tuple[Thing, ...]] = {}
    while len(found) < OUTFITS:
        worn = random_garments(rng, most=5)
        things = tuple(zip(worn, rng.sample(MATERIALS, len(worn)), strict=True))
        if len(worn) > 1 and outfit_split((f"worn {n}", m) for n, m in things) == split:
            found[frozenset(things)] = things
    return list(found.values())


def _garment_pictures(
    things: Iterable[Thing], rng: random.Random, size: int
) -> dict[Thing, dict[str, Image.Image]]:
    """Draw garments alone in their materials, by slot; each shares a few geometries."""
    wanted = sorted(set(things))
    found = {}
    for garment in GARMENTS:
        poses = [garment_scene(garment, "red", rng) for _ in range(TEMPLATES)]
        own = [thing for thing in wanted if thing[0] == garment]
        scenes = [
            recut(poses[i % TEMPLATES], rng, [(f"worn {name}", material)], "studio")
            for i, (name, material) in enumerate(own)
        ]
        every = garment_cutouts(scenes, size) if scenes else []
        for thing, cuts in zip(own, every, strict=True):
            found[thing] = {slot: pixels_picture(cut) for slot, cut in cuts.items()}
    return found


def clothes(asking: Asking) -> Task:
    """Ask for a person who wears garments, each of which is shown alone on white in its slot.

    Args:
        asking: the size of the pictures, the split, and the number of requests.

    Returns:
        The task.
    """
    rng = asking.rng("clothes")
    templates = [outfit([("hat", "red")], "studio", rng) for _ in range(TEMPLATES)]
    outfits = asking.limited(_held_out_outfits(rng, asking.split))
    every = (thing for things in outfits for thing in things)
    portraits = _garment_pictures(every, rng, asking.size)
    gallery: list[Entry] = []
    inputs: list[tuple[Source, ...]] = []
    wanted, twins = [], []
    for i, things in enumerate(outfits):
        template = templates[i % TEMPLATES]
        gallery += [_worn(near, template, rng) for near in near_outfits(things, rng)]
        given = {slot: cut for thing in things for slot, cut in portraits[thing].items()}
        inputs.append(tuple(given.get(slot) for slot in SLOTS))
        wanted.append(Shown(frozenset(things), "studio"))
        twins.append(outfit(things, "studio", rng))
    return Task(inputs, wanted, twins, gallery, OUTFIT, shares=_FAULTS)
