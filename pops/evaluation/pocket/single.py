"""Tasks of the pocket benchmark for operators on one object: inputs, answers and a gallery.

All pictures have cameras, lights, places and cuts of their own; within a gallery a few geometries
are shared. No combination that is asked for was in the training of any part.
"""

import random
from collections.abc import Sequence
from itertools import product

from PIL import Image

from pops.evaluation.pocket.judged import ADJECTIVE, ONE_OBJECT
from pops.evaluation.pocket.patches import crop_patch, find_patch
from pops.evaluation.pocket.shown import alone
from pops.evaluation.pocket.task import Asking, Entry, Source, Task, recut, same_things
from pops.pocket.world.cutout import pixels_picture
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Scene, Swatch, single, with_adjective
from pops.pocket.world.split import (
    Combination,
    combination_split,
    combinations,
    held_out,
)
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, MATERIALS, OBJECTS

__all__ = ["instruct", "scene", "texturing"]

GEOMETRIES = 10  # of every object in a gallery
_SOLID = ("ball", "cube", "mug", "vase", "hat")  # large enough to cut a patch out of


def _is_asked_for(shape: str, material: str, background: str) -> bool:
    return combination_split(shape, material, background) == "test"


# --- one object in a place: texturing, scene, instruct --------------------------------------


def _combinations_gallery(asking: Asking) -> list[Entry]:
    """Draw one scene of every combination; objects share few geometries, no cut and no place."""
    rng = asking.rng("gallery")
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


def _exemplars(targets: Sequence[Combination], asking: Asking) -> list[Image.Image]:
    """Draw by turns a flat swatch of the material, and a patch of another object made of it."""
    rng = asking.rng("exemplars")
    pictures = []
    for i, (shape, material, _) in enumerate(targets):
        if i % 2 == 0:
            swatch = Swatch(material, rng.uniform(0, 20), rng.uniform(1.0, 2.0))
            pictures.append(Image.fromarray(render_swatches([swatch], asking.size)[0].numpy()))
            continue
        other = rng.choice([s for s in _SOLID if s != shape])
        rendering = render([single(other, material, "studio", rng)], asking.size)
        patch = find_patch(rendering.mask(0, 0).numpy(), rng)
        whole = rendering.pictures[0].permute(2, 0, 1).float() / 255
        pictures.append(pixels_picture(whole if patch is None else crop_patch(whole, patch)))
    return pictures


def texturing(asking: Asking) -> Task:
    """Ask for an object in another material, shown by a swatch or by a patch of another object.

    Args:
        asking: the size of the pictures, the split, and the number of requests.

    Returns:
        The task.
    """
    rng = asking.rng("inputs")
    targets = asking.limited(held_out(asking.split))
    objects, twins = [], []
    for shape, material, background in targets:
        others = [m for m in MATERIALS if m != material and not _is_asked_for(shape, m, background)]
        objects.append(single(shape, rng.choice(others), background, rng))
        twins.append(single(shape, material, background, rng))
    return Task(
        inputs=list(zip(objects, _exemplars(targets, asking), strict=True)),
        wanted=[alone(*target) for target in targets],
        twins=twins,
        gallery=_combinations_gallery(asking),
        checks=ONE_OBJECT,
        shares={"object_and_material": same_things},
    )


def scene(asking: Asking) -> Task:
    """Ask for an object in another place, which is shown with nothing in it.

    Args:
        asking: the size of the pictures, the split, and the number of requests.

    Returns:
        The task.
    """
    rng = asking.rng("scene")
    targets = asking.limited(held_out(asking.split))
    inputs: list[tuple[Source, ...]] = []
    twins = []
    for i, (shape, material, background) in enumerate(targets):
        others = [
            b for b in BACKGROUNDS if b != background and not _is_asked_for(shape, material, b)
        ]
        place = "studio" if i % 2 == 0 and "studio" in others else rng.choice(others)
        view = single(shape, material, background, rng).view
        empty = Scene((), background, view, phase=rng.uniform(0, 20))
        inputs.append((single(shape, material, place, rng), empty))
        twins.append(single(shape, material, background, rng))
    return Task(
        inputs=inputs,
        wanted=[alone(*target) for target in targets],
        twins=twins,
        gallery=_combinations_gallery(asking),
        checks=ONE_OBJECT,
        shares={"object_and_material": same_things},
    )


def instruct(asking: Asking) -> Task:
    """Ask for an object as an adjective says.

    The gallery has every object in every material with every adjective and with none.

    Args:
        asking: the size of the pictures, the split, and the number of requests.

    Returns:
        The task.
    """
    rng = asking.rng("instruct")
    poses = _poses(rng)
    gallery = []
    for i, (shape, material, adjective) in enumerate(
        product(OBJECTS, MATERIALS, (None, *ADJECTIVES))
    ):
        plain = recut(poses[shape][i % GEOMETRIES], rng, [(shape, material)], "studio")
        # Things of the same geometry get the same pose, so that it is traced once for all of them.
        own = random.Random(f"{shape}/{i % GEOMETRIES}")
        asked = with_adjective(plain, adjective, own) if adjective else plain
        gallery.append((alone(shape, material, "studio", adjective), asked))
    things = [(s, m) for s, m, background in held_out(asking.split) if background == "studio"]
    asked_for = asking.limited([(s, m, a) for (s, m), a in product(things, ADJECTIVES)])
    return Task(
        inputs=[(single(s, m, "studio", rng),) for s, m, _ in asked_for],
        texts=[adjective for _, _, adjective in asked_for],
        wanted=[alone(s, m, "studio", a) for s, m, a in asked_for],
        twins=[with_adjective(single(s, m, "studio", rng), a, rng) for s, m, a in asked_for],
        gallery=gallery,
        checks=ADJECTIVE,
        shares={
            "object_and_material": same_things,
            "adjective": lambda nearest, wanted: nearest.adjective == wanted.adjective,
        },
    )
