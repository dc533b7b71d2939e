"""Several things in one picture: whether one is lost, whether one takes another's looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pops.evaluation.metrics.base import Made, Measuring, Metric, cosine
from pops.evaluation.metrics.regions import crop, find
from pops.evaluation.stages import Look, Read, See

__all__ = ["Garments", "GarmentsFound", "Leak", "Lost", "Things", "look_texts"]

THRESHOLD = 0.2  # the published one, of OWLv2 on two things
PAIR = ("first", "second")


class Lost(Metric):
    """Whether one of two things is not found in the picture: 1 or 0."""

    name = "lost"
    title = "share of pictures in which a thing is lost"
    better = "lower"
    share = True
    stages = ("detect",)

    def __call__(self, made: Made) -> Measuring:
        found = yield [find(made.picture, made.words[slot], THRESHOLD) for slot in PAIR]
        return float(any(one is None for one in found))


class Things(Metric):
    """The mean likeness of two things to those of the inputs, each cut out, by CLIP."""

    name = "things_clip"
    title = "likeness of the things that are found to the inputs, by CLIP"
    stages = ("detect", "clip")

    def __call__(self, made: Made) -> Measuring:
        found = yield [
            find(picture, made.words[slot], THRESHOLD)
            for slot in PAIR
            for picture in (made.picture, made.inputs[slot])
        ]
        if found[0] is None or found[2] is None:
            return None
        crops = [
            crop(picture, found[2 * at + side])
            for at, slot in enumerate(PAIR)
            for side, picture in enumerate((made.picture, made.inputs[slot]))
        ]
        a, own_a, b, own_b = yield [Look(one) for one in crops]
        return (cosine(a, own_a) + cosine(b, own_b)) / 2


class Leak(Metric):
    """The share of the things that are found that have the looks of the other one.

    The looks of each input are the word of `Made.looks` that CLIP sees in it. Of a thing in the
    picture only these two are asked. Where both inputs look alike, nothing can leak.
    """

    name = "leak"
    title = "share of things that have the other one's looks, by CLIP"
    better = "lower"
    share = True
    stages = ("detect", "clip")

    def __call__(self, made: Made) -> Measuring:
        found = yield [
            find(picture, made.words[slot], THRESHOLD)
            for slot in PAIR
            for picture in (made.picture, made.inputs[slot])
        ]
        texts = [Read(text) for text in look_texts(made.looks)]
        own = [crop(made.inputs[slot], found[2 * at + 1]) for at, slot in enumerate(PAIR)]
        seen = [(at, crop(made.picture, found[2 * at])) for at in range(2) if found[2 * at]]
        answers = yield [*texts, *map(Look, own), *(Look(picture) for _, picture in seen)]
        words = np.stack(answers[: len(texts)])
        first, second = (int((words @ look).argmax()) for look in answers[len(texts) :][:2])
        if first == second or not seen:
            return None
        leaks = []
        for (at, _), look in zip(seen, answers[len(texts) + 2 :], strict=True):
            mine, other = (first, second) if at == 0 else (second, first)
            leaks.append(cosine(words[other], look) > cosine(words[mine], look))
        return sum(leaks) / len(leaks)


def look_texts(looks: Sequence[str]) -> list[str]:
    """Write the texts by which CLIP tells looks apart.

    Args:
        looks: Words such as `wooden`.

    Returns:
        A text each.
    """
    return [f"a photo of a {look} thing" for look in looks]


class GarmentsFound(Metric):
    """The share of the garments that are found in the picture."""

    name = "garments_found"
    title = "share of garments that are found"
    share = True
    stages = ("detect",)

    def __call__(self, made: Made) -> Measuring:
        found = yield [find(made.picture, made.words[slot]) for slot in made.inputs]
        return sum(one is not None for one in found) / len(found)


class Garments(Metric):
    """The mean likeness of the garments that are found to those that were given.

    Each is cut out of the picture; its own picture shows nothing else.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.stages = ("detect", model)
        self.name = f"garments_{model}"
        self.title = f"likeness of the garments that are found to the inputs, by {model}"

    def __call__(self, made: Made) -> Measuring:
        slots = list(made.inputs)
        found = yield [find(made.picture, made.words[slot]) for slot in slots]
        pairs: list[Image.Image] = []
        for slot, one in zip(slots, found, strict=True):
            if one is not None:
                pairs += [crop(made.picture, one), made.inputs[slot]]
        if not pairs:
            return None
        ask = Look if self.model == "clip" else See
        answers = yield [ask(picture) for picture in pairs]
        rows = [one if self.model == "clip" else one.whole for one in answers]
        return float(np.mean([cosine(a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]))
