"""What the pocket benchmark asks of each operator: inputs, right answers and a gallery of both.

All pictures have cameras, lights, places and cuts of their own; within a gallery a few geometries
are shared. No combination that is asked for was in the training of any operator, nor, but for the
outfits, of the encoders.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from PIL import Image

from pops.operators import GARMENTS as SLOTS
from pops.pocket.stages.examples import random_garments
from pops.pocket.stages.pictures import crop_patch, find_patch
from pops.pocket.world.cutout import garment_cutouts, garment_scene, pixels_picture
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Item, Scene, Swatch, outfit, pair, single, with_adjective
from pops.pocket.world.split import (
    Combination,
    Thing,
    combinations,
    held_out,
    held_out_pairs,
    is_held_out,
    is_held_out_outfit,
)
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = ["TASKS", "Shown", "Task"]

SIZE = 64
GEOMETRIES = 10  # of every object in a gallery
TEMPLATES = 6  # of every pair and every outfit
OUTFITS = 240
_SOLID = ("ball", "cube", "mug", "vase", "hat")  # large enough to cut a patch out of

Source = Scene | Image.Image | None


@dataclass(frozen=True)
class Shown:
    """What can be seen in a picture: its name in the gallery."""

    things: frozenset[Thing]
    background: str
    adjective: str | None = None

    def loses(self, wanted: "Shown") -> bool:
        """Whether something that was wanted is not there, of whatever material."""
        return bool({shape for shape, _ in wanted.things} - {shape for shape, _ in self.things})

    def leaks(self, wanted: "Shown") -> bool:
        """Whether all is there, but something has the material that another was to have."""
        materials = {material for _, material in wanted.things}
        wrong = self.things - wanted.things
        shapes = {shape for shape, _ in wanted.things}
        taken = any(shape in shapes and material in materials for shape, material in wrong)
        return taken and not self.loses(wanted)


@dataclass(frozen=True)
class Task:
    """The requests to one operator, what each should give, and among what it is looked for.

    inputs: one source per slot, None for what is left out. twins: another picture of each right
    answer. gallery: every scene with its name; the right ones of a request are named `wanted`.
    """

    inputs: list[tuple[Source, ...]]
    wanted: list[Shown]
    twins: list[Scene]
    gallery: list[tuple[Shown, Scene]]
    texts: list[str] | None = None
    judged: bool = False  # whether the classifier of single objects can tell
    shares: dict[str, Callable[[Shown, Shown], bool]] = field(default_factory=dict)


def _same_things(nearest: Shown, wanted: Shown) -> bool:
    return nearest.things == wanted.things


def _shown(shape: str, material: str, background: str, adjective: str | None = None) -> Shown:
    return Shown(frozenset({(shape, material)}), background, adjective)


def _recut(scene: Scene, rng: random.Random, things: Sequence[Thing], background: str) -> Scene:
    """The geometry of a scene with other things, of cuts and in a place of their own."""
    items = tuple(
        replace(i, shape=shape, material=material, phase=rng.uniform(0, 20))
        for i, (shape, material) in zip(scene.items, things, strict=True)
    )
    return replace(scene, items=items, background=background, phase=rng.uniform(0, 20))


# --- one object in a place: texturing, scene, instruct --------------------------------------


def _combinations_gallery() -> list[tuple[Shown, Scene]]:
    """One scene of every combination; objects share a few geometries, never a cut or a place."""
    rng = random.Random("gallery")
    poses = _poses(rng)
    return [
        (
            _shown(shape, material, background),
            _recut(poses[shape][i % GEOMETRIES], rng, [(shape, material)], background),
        )
        for i, (shape, material, background) in enumerate(combinations())
    ]


def _poses(rng: random.Random) -> dict[str, list[Scene]]:
    return {
        shape: [single(shape, "red", "studio", rng) for _ in range(GEOMETRIES)] for shape in OBJECTS
    }


def _exemplars(targets: Sequence[Combination]) -> list[Image.Image]:
    """By turns a flat swatch of the material, and a patch cut out of another object made of it."""
    rng = random.Random("exemplars")
    pictures = []
    for i, (shape, material, _) in enumerate(targets):
        if i % 2 == 0:
            swatch = Swatch(material, rng.uniform(0, 20), rng.uniform(1.0, 2.0))
            pictures.append(Image.fromarray(render_swatches([swatch], SIZE)[0].numpy()))
            continue
        other = rng.choice([s for s in _SOLID if s != shape])
        rendering = render([single(other, material, "studio", rng)], SIZE)
        patch = find_patch(rendering.mask(0, 0).numpy(), rng)
        whole = rendering.pictures[0].permute(2, 0, 1).float() / 255
        pictures.append(pixels_picture(whole if patch is None else crop_patch(whole, patch)))
    return pictures


def texturing(limit: int | None) -> Task:
    """(the object, there, in another material; a swatch or a patch) -> in that material."""
    rng = random.Random("inputs")
    targets = held_out()[:limit]
    objects, twins = [], []
    for shape, material, background in targets:
        others = [m for m in MATERIALS if m != material and not is_held_out(shape, m, background)]
        objects.append(single(shape, rng.choice(others), background, rng))
        twins.append(single(shape, material, background, rng))
    return Task(
        inputs=list(zip(objects, _exemplars(targets), strict=True)),
        wanted=[_shown(*target) for target in targets],
        twins=twins,
        gallery=_combinations_gallery(),
        judged=True,
        shares={"object_and_material": _same_things},
    )


def scene(limit: int | None) -> Task:
    """(the object in the studio, or elsewhere; a place with nothing in it) -> the object there."""
    rng = random.Random("scene")
    targets = held_out()[:limit]
    inputs: list[tuple[Source, ...]] = []
    twins = []
    for i, (shape, material, background) in enumerate(targets):
        others = [b for b in BACKGROUNDS if b != background and not is_held_out(shape, material, b)]
        place = "studio" if i % 2 == 0 and "studio" in others else rng.choice(others)
        view = single(shape, material, background, rng).view
        empty = Scene((), background, view, phase=rng.uniform(0, 20))
        inputs.append((single(shape, material, place, rng), empty))
        twins.append(single(shape, material, background, rng))
    return Task(
        inputs=inputs,
        wanted=[_shown(*target) for target in targets],
        twins=twins,
        gallery=_combinations_gallery(),
        judged=True,
        shares={"object_and_material": _same_things},
    )


def instruct(limit: int | None) -> Task:
    """(the object in the studio; an adjective) -> the object as the adjective says.

    The gallery has every object in every material with every adjective and with none.
    """
    rng = random.Random("instruct")
    poses = _poses(rng)
    gallery = []
    for i, (shape, material, adjective) in enumerate(
        product(OBJECTS, MATERIALS, (None, *ADJECTIVES))
    ):
        plain = _recut(poses[shape][i % GEOMETRIES], rng, [(shape, material)], "studio")
        # Many things stand as many others of their geometry do.
        own = random.Random(f"{shape}/{i % GEOMETRIES}")
        asked = with_adjective(plain, adjective, own) if adjective else plain
        gallery.append((_shown(shape, material, "studio", adjective), asked))
    things = [(s, m) for s, m, background in held_out() if background == "studio"]
    asked_for = [(s, m, a) for (s, m), a in product(things, ADJECTIVES)][:limit]
    return Task(
        inputs=[(single(s, m, "studio", rng),) for s, m, _ in asked_for],
        texts=[adjective for _, _, adjective in asked_for],
        wanted=[_shown(s, m, "studio", a) for s, m, a in asked_for],
        twins=[with_adjective(single(s, m, "studio", rng), a, rng) for s, m, a in asked_for],
        gallery=gallery,
        shares={
            "object_and_material": _same_things,
            "adjective": lambda nearest, wanted: nearest.adjective == wanted.adjective,
        },
    )


# --- several things together: union, clothes ------------------------------------------------


_FAULTS: dict[str, Callable[[Shown, Shown], bool]] = {
    "object_and_material": _same_things,
    "leak": Shown.leaks,
    "lost": Shown.loses,
}


def _another(rng: random.Random, of: Sequence[str], but: Sequence[str]) -> str:
    return rng.choice([one for one in of if one not in but])


def _beside(
    first: Thing, second: Thing, background: str, template: Scene, rng: random.Random
) -> list[tuple[Shown, Scene]]:
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
        (Shown(frozenset(things), background), _recut(template, rng, things, background))
        for things in pairs
    ]
    for thing in (first, second):
        scenes.append((_shown(*thing, background), single(*thing, background, rng)))
    return scenes


def union(limit: int | None) -> Task:
    """(a thing, another, each alone in one place) -> both there, in any order."""
    rng = random.Random("union")
    red = ("ball", "red")
    templates = [pair(red, red, "studio", rng) for _ in range(TEMPLATES)]
    gallery: list[tuple[Shown, Scene]] = []
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


def _worn(things: Sequence[Thing], template: Scene, rng: random.Random) -> tuple[Shown, Scene]:
    mannequin, garment = template.items
    items: list[Item] = [mannequin]
    for name, material in things:
        cut = rng.uniform(0, 20)
        items.append(replace(garment, shape=f"worn {name}", material=material, phase=cut))
    return Shown(frozenset(things), "studio"), replace(template, items=tuple(items))


def _outfits(things: Sequence[Thing], template: Scene, rng: random.Random) -> list:
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
            _recut(poses[i % TEMPLATES], rng, [(f"worn {name}", material)], "studio")
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
    alone = _garment_pictures((thing for things in outfits for thing in things), rng)
    gallery: list[tuple[Shown, Scene]] = []
    inputs: list[tuple[Source, ...]] = []
    wanted, twins = [], []
    for i, things in enumerate(outfits):
        gallery += _outfits(things, templates[i % TEMPLATES], rng)
        given = {slot: cut for thing in things for slot, cut in alone[thing].items()}
        inputs.append(tuple(given.get(slot) for slot in SLOTS))
        wanted.append(Shown(frozenset(things), "studio"))
        twins.append(outfit(things, "studio", rng))
    return Task(inputs, wanted, twins, gallery, shares=_FAULTS)


# operator -> its task, of at most so many requests
TASKS: dict[str, Callable[[int | None], Task]] = {
    "texturing": texturing,
    "union": union,
    "scene": scene,
    "instruct": instruct,
    "clothes": clothes,
}
