"""What the pocket benchmark asks of operators on one object: inputs, answers and a gallery.

All pictures have cameras, lights, places and cuts of their own; within a gallery a few geometries
are shared. No combination that is asked for was in the training of any operator, nor, but for the
outfits, of the encoders.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from PIL import Image

from pops.pocket.world.cutout import pixels_picture
from pops.pocket.world.patches import crop_patch, find_patch
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Scene, Swatch, single, with_adjective
from pops.pocket.world.split import (
    Combination,
    Thing,
    combinations,
    held_out,
    is_held_out,
)
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, MATERIALS, OBJECTS

__all__ = [
    "SIZE",
    "Shown",
    "Source",
    "Task",
    "instruct",
    "recut",
    "same_things",
    "scene",
    "texturing",
]

SIZE = 64
GEOMETRIES = 10  # of every object in a gallery
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


# A gallery's picture, named by what it shows.
Entry = tuple[Shown, Scene]


@dataclass(frozen=True)
class Task:
    """The requests to one operator, what each should give, and among what it is looked for.

    inputs: one source per slot, None for what is left out. twins: another picture of each right
    answer. gallery: every scene with its name; the right ones of a request are named `wanted`.
    """

    inputs: list[tuple[Source, ...]]
    wanted: list[Shown]
    twins: list[Scene]
    gallery: list[Entry]
    texts: list[str] | None = None
    judged: bool = False  # whether the classifier of single objects can tell
    shares: dict[str, Callable[[Shown, Shown], bool]] = field(default_factory=dict)


def same_things(nearest: Shown, wanted: Shown) -> bool:
    return nearest.things == wanted.things


def alone(shape: str, material: str, background: str, adjective: str | None = None) -> Shown:
    return Shown(frozenset({(shape, material)}), background, adjective)


def recut(scene: Scene, rng: random.Random, things: Sequence[Thing], background: str) -> Scene:
    """The geometry of a scene with other things, of cuts and in a place of their own."""
    items = tuple(
        replace(i, shape=shape, material=material, phase=rng.uniform(0, 20))
        for i, (shape, material) in zip(scene.items, things, strict=True)
    )
    return replace(scene, items=items, background=background, phase=rng.uniform(0, 20))


# --- one object in a place: texturing, scene, instruct --------------------------------------


def _combinations_gallery() -> list[Entry]:
    """One scene of every combination; objects share a few geometries, never a cut or a place."""
    rng = random.Random("gallery")
    poses = _poses(rng)
    return [
        (
            alone(shape, material, background),
            recut(poses[shape][i % GEOMETRIES], rng, [(shape, material)], background),
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
        wanted=[alone(*target) for target in targets],
        twins=twins,
        gallery=_combinations_gallery(),
        judged=True,
        shares={"object_and_material": same_things},
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
        wanted=[alone(*target) for target in targets],
        twins=twins,
        gallery=_combinations_gallery(),
        judged=True,
        shares={"object_and_material": same_things},
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
        plain = recut(poses[shape][i % GEOMETRIES], rng, [(shape, material)], "studio")
        # Many things stand as many others of their geometry do.
        own = random.Random(f"{shape}/{i % GEOMETRIES}")
        asked = with_adjective(plain, adjective, own) if adjective else plain
        gallery.append((alone(shape, material, "studio", adjective), asked))
    things = [(s, m) for s, m, background in held_out() if background == "studio"]
    asked_for = [(s, m, a) for (s, m), a in product(things, ADJECTIVES)][:limit]
    return Task(
        inputs=[(single(s, m, "studio", rng),) for s, m, _ in asked_for],
        texts=[adjective for _, _, adjective in asked_for],
        wanted=[alone(s, m, "studio", a) for s, m, a in asked_for],
        twins=[with_adjective(single(s, m, "studio", rng), a, rng) for s, m, a in asked_for],
        gallery=gallery,
        shares={
            "object_and_material": same_things,
            "adjective": lambda nearest, wanted: nearest.adjective == wanted.adjective,
        },
    )
