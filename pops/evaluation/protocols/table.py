"""The protocols by name: the requests of each, the ways to make its pictures, and its metrics."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from pops.errors import UsageError
from pops.evaluation.config import (
    EvalClothesConfig,
    EvalConfig,
    EvalInstructConfig,
    EvalSceneConfig,
    EvalTexturingConfig,
    EvalUnionConfig,
)
from pops.evaluation.protocols.inputs import Input, list_garments, list_inputs, list_words
from pops.evaluation.protocols.methods import (
    Method,
    Request,
    apply_operator,
    mean_of,
    mean_with_text,
    only,
    swap_concept,
)

__all__ = ["PROTOCOLS", "Protocol"]

PARTNERS = 16  # of each thing of union
OUTFITS = 52
MOST_WORN = 5


@dataclass(frozen=True)
class Protocol:
    """Requests to an operator, the methods that answer them, and the metrics of their pictures.

    Args:
        operator: the operator.
        slots: the slots whose names may stand in a user's own composition.
        requests: makes the requests that the settings ask for.
        methods: the ways to make a picture, the operator first.
        metrics: the names of the metrics.
    """

    operator: str
    slots: tuple[str, ...]
    requests: Callable[[EvalConfig], list[Request]]
    methods: Mapping[str, Method]
    metrics: tuple[str, ...]


# --- requests -------------------------------------------------------------------------------


def _instruct(config: EvalConfig) -> list[Request]:
    assert isinstance(config, EvalInstructConfig)
    objects = list_inputs("objects", config.objects, config)
    if config.adjectives is None and config.chosen_preset == "pocket":
        from pops.pocket.world.vocabulary import ADJECTIVES

        adjectives: tuple[str, ...] = ADJECTIVES
    else:
        adjectives = list_words("adjectives", config.adjectives)
    return [Request({"object": thing}, word) for thing, word in product(objects, adjectives)]


def _pairs(second: str, things: list[Input], others: list[Input]) -> list[Request]:
    return [Request({"object": a, second: b}) for a, b in product(things, others)]


def _texturing(config: EvalConfig) -> list[Request]:
    assert isinstance(config, EvalTexturingConfig)
    things = list_inputs("objects", config.objects, config)
    return _pairs("texture", things, list_inputs("textures", config.textures, config))


def _scene(config: EvalConfig) -> list[Request]:
    assert isinstance(config, EvalSceneConfig)
    things = list_inputs("objects", config.objects, config)
    return _pairs("background", things, list_inputs("places", config.places, config))


def _union(config: EvalConfig) -> list[Request]:
    """Pair each thing with the things that follow it in the list, which goes round."""
    assert isinstance(config, EvalUnionConfig)
    things = list_inputs("objects", config.objects, config)
    if len(things) < 2:
        raise UsageError("--objects names one thing, but union takes two: name a list of more")
    partners = min(PARTNERS, len(things) - 1)
    return [
        Request({"first": thing, "second": things[(at + step) % len(things)]})
        for at, thing in enumerate(things)
        for step in range(1, partners + 1)
    ]


def _clothes(config: EvalConfig) -> list[Request]:
    """Draw outfits at random, the same in every run."""
    assert isinstance(config, EvalClothesConfig)
    by_slot: dict[str, list[Input]] = {}
    for garment in list_garments(config.objects, config):
        by_slot.setdefault(garment.slot, []).append(garment)
    if len(by_slot) < 2:
        raise UsageError(
            "--objects names garments of one slot, but an outfit takes those of two: name a "
            "list of more"
        )
    rng = random.Random("outfits")
    outfits: dict[tuple[Input, ...], None] = {}
    for _ in range(50 * OUTFITS):  # where there are few garments, there are fewer outfits
        slots = sorted(rng.sample(sorted(by_slot), rng.randint(2, min(MOST_WORN, len(by_slot)))))
        outfits[tuple(rng.choice(by_slot[slot]) for slot in slots)] = None
        if len(outfits) == OUTFITS:
            break
    return [Request({garment.slot: garment for garment in outfit}) for outfit in outfits]


# --- methods --------------------------------------------------------------------------------


def _means(operator: str, *inputs: str) -> dict[str, Method]:
    """List the operator, mixes of its two inputs as IP-Adapter makes them, and each input alone."""
    return {
        "operator": partial(apply_operator, operator),
        "mean": mean_of,
        "mean_0.25": partial(mean_of, weight=0.25),
        "mean_0.75": partial(mean_of, weight=0.75),
        **{slot: partial(only, slot) for slot in inputs},
    }


def _with_judge(*metrics: str, judged: tuple[str, ...]) -> tuple[str, ...]:
    return (*metrics, *(f"judge_{slot}" for slot in judged), "judge_mean")


PROTOCOLS = {
    "instruct": Protocol(
        "instruct",
        ("object",),
        _instruct,
        {
            "operator": partial(apply_operator, "instruct"),
            "mean_with_text": mean_with_text,
            "object": partial(only, "object"),
        },
        _with_judge(
            "object_clip", "object_features", "text_clip", "caption", judged=("object", "text")
        ),
    ),
    "texturing": Protocol(
        "texturing",
        ("object", "texture"),
        _texturing,
        {
            **_means("texturing", "object", "texture"),
            "swap": partial(swap_concept, "material"),
        },
        _with_judge(
            *("object_clip", "object_features", "object_edges", "object_depth", "object_found"),
            *("texture_clip", "texture_gram"),
            judged=("object", "texture"),
        ),
    ),
    "scene": Protocol(
        "scene",
        ("object", "background"),
        _scene,
        {
            **_means("scene", "object", "background"),
            "swap": partial(swap_concept, "background"),
        },
        _with_judge(
            *("object_found", "object_crop_clip", "object_crop_features"),
            *("background_outside_clip", "background_outside_features"),
            judged=("object", "background"),
        ),
    ),
    "union": Protocol(
        "union",
        ("first", "second"),
        _union,
        _means("union", "first", "second"),
        _with_judge(
            *("lost", "leak", "things_clip", "first_clip", "second_clip"),
            judged=("first", "second"),
        ),
    ),
    "clothes": Protocol(
        "clothes",
        ("garments",),
        _clothes,
        {"operator": partial(apply_operator, "clothes"), "mean": mean_of},
        _with_judge("garments_found", "garments_clip", "garments_features", judged=()),
    ),
}
