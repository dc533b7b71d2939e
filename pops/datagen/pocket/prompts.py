"""From prompts to scenes of the pocket world. No held-out combination is ever made."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from random import Random

from pops.datagen.pocket.pictures import as_scene_picture
from pops.datagen.stages import Depth2Image, LoadPerson, Text2Image
from pops.datagen.words import PromptWords
from pops.errors import UsageError
from pops.pocket.world.scene import Scene, outfit, pair, random_view, single
from pops.pocket.world.split import is_held_out, is_held_out_outfit, is_held_out_pair
from pops.pocket.world.vocabulary import (
    BACKGROUND_WORDS,
    BACKGROUNDS,
    GARMENTS,
    MATERIAL_WORDS,
    MATERIALS,
    OBJECTS,
)

__all__ = ["POCKET_WORDS", "dress", "imagine", "remake"]

_MOST_DRAWS = 100
_MATERIAL_OF = {word: name for name, said in MATERIAL_WORDS.items() for word in (name, said)}


class _PocketWords(PromptWords):
    def materials(
        self, rng: Random, thing: str, placement: str, count: int, besides: Collection[str] = ()
    ) -> list[list[str]]:
        """Draw different materials, one for each look, none of them held out for the thing here."""
        seen = [m for m in _seen_materials(thing, _place(placement)) if m not in besides]
        return [[m] for m in rng.sample(seen, count)]


POCKET_WORDS = _PocketWords(OBJECTS, tuple(BACKGROUND_WORDS.values()), MATERIALS)


def _place(text: str) -> str:
    """Find the background that a prompt ends in."""
    for name, words in BACKGROUND_WORDS.items():
        if text.endswith(words):
            return name
    known = ", ".join(BACKGROUND_WORDS.values())
    raise UsageError(f"the pocket world knows no place in {text!r} (its places are {known})")


def _seen_materials(shape: str, background: str) -> list[str]:
    """List the materials whose combination with a shape and a background may be trained on."""
    return [m for m in MATERIALS if not is_held_out(shape, m, background)]


def _named(prompt: str) -> list[tuple[str, str | None]]:
    """Find the things in a prompt, as (object, material or None where none is said)."""
    said = None
    things = []
    for word in re.findall(r"[a-z]+", prompt.lower()):
        said = _MATERIAL_OF.get(word, said)
        if word in OBJECTS:
            things.append((word, said))
            said = None
    return things


def _made(
    things: Sequence[tuple[str, str | None]], background: str, rng: Random
) -> list[tuple[str, str]]:
    """Give each thing a material, drawn where none is said, so that nothing is held out.

    Raises:
        UsageError: A combination that is said is held out.
    """
    for _ in range(_MOST_DRAWS):
        made = [
            (shape, said or rng.choice(_seen_materials(shape, background)))
            for shape, said in things
        ]
        alone = any(is_held_out(shape, material, background) for shape, material in made)
        if not alone and (len(made) != 2 or not is_held_out_pair(made[0], made[1])):
            return made
    raise UsageError(
        f"{things} in {background} is held out of all training, for evaluation alone: ask for "
        "another"
    )


def imagine(request: Text2Image) -> Scene:
    """Make the scene of a prompt; the seed decides what the prompt leaves open.

    Args:
        request: The prompt and the seed.

    Returns:
        The scene.

    Raises:
        UsageError: The prompt names an unknown place, more than two things, or a combination that
            is held out.
    """
    rng = Random(request.seed)
    background = _place(request.prompt)
    named = _named(request.prompt.removesuffix(BACKGROUND_WORDS[background]))
    if len(named) > 2:
        raise UsageError(f"the pocket world puts at most two things into a picture, not {named}")
    things = _made(named, background, rng)
    if len(things) == 2:
        return pair(things[0], things[1], background, rng)
    if things:
        return single(*things[0], background, rng)
    return Scene((), background, random_view(rng), phase=rng.uniform(0.0, 20.0))


def remake(request: Depth2Image) -> Scene:
    """Make the scene of a picture again, its things of the material that a prompt names.

    Args:
        request: The picture, the prompt and the seed.

    Returns:
        The scene.

    Raises:
        UsageError: The prompt names no known material, or the picture is not of the pocket world.
    """
    rng = Random(request.seed)
    scene = as_scene_picture(request.picture).scene
    words = re.findall(r"made from ([a-z]+)", request.prompt)
    if not words or words[0] not in _MATERIAL_OF:
        raise UsageError(
            f"the pocket world knows no material in {request.prompt!r}: name one of it"
        )
    material = _MATERIAL_OF[words[0]]
    items = tuple(
        replace(item, material=material, phase=rng.uniform(0.0, 20.0)) for item in scene.items
    )
    return replace(scene, items=items)


def dress(request: LoadPerson) -> Scene:
    """Dress a mannequin in two to five garments, which the seed decides.

    Args:
        request: The seed.

    Returns:
        The scene.
    """
    rng = Random(request.seed)
    while True:
        background = rng.choice(BACKGROUNDS)
        worn = rng.sample(GARMENTS, rng.randint(2, 5))
        worn = [g for g in worn if not (g == "skirt" and "trousers" in worn)]
        chosen = [(g, rng.choice(_seen_materials(f"worn {g}", background))) for g in worn]
        if not is_held_out_outfit((f"worn {g}", material) for g, material in chosen):
            return outfit(chosen, background, rng)
