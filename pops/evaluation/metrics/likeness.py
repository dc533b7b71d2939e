"""Likeness of whole pictures to inputs, and of pictures to texts."""

from __future__ import annotations

from pops.datagen.words import with_article
from pops.evaluation.metrics.base import Made, Measuring, Metric, cosine
from pops.evaluation.stages import Describe, Look, Read, See, Understand

__all__ = ["Caption", "ClipLikeness", "FeatureLikeness", "TextLikeness"]


class ClipLikeness(Metric):
    """The cosine of the CLIP embeddings of the picture and of an input."""

    stages = ("clip",)

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.name = f"{slot}_clip"
        self.title = f"likeness to the {slot}, by CLIP"

    def __call__(self, made: Made) -> Measuring:
        a, b = yield [Look(made.picture), Look(made.inputs[self.slot])]
        return cosine(a, b)


class FeatureLikeness(Metric):
    """The cosine of the features of the picture and of an input, by a model that knows no words.

    It stands where the paper has DreamSim, which needs libraries that do not fit beside ours.
    """

    stages = ("features",)

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.name = f"{slot}_features"
        self.title = f"likeness to the {slot}, by features"

    def __call__(self, made: Made) -> Measuring:
        a, b = yield [See(made.picture), See(made.inputs[self.slot])]
        return cosine(a.whole, b.whole)


class TextLikeness(Metric):
    """The cosine of the CLIP embeddings of the picture and of "A {adjective} photo"."""

    name = "text_clip"
    title = "likeness to the text, by CLIP"
    stages = ("clip",)

    def __call__(self, made: Made) -> Measuring:
        assert made.text is not None, "the protocol gives a text"
        sentence = f"{with_article(made.text)} photo".capitalize()
        picture, text = yield [Look(made.picture), Read(sentence)]
        return cosine(picture, text)


class Caption(Metric):
    """The likeness of the picture's caption to "A photo of a {adjective} {object}"."""

    name = "caption"
    title = "likeness of the caption to what was asked for"
    stages = ("caption", "sentence")

    def __call__(self, made: Made) -> Measuring:
        (caption,) = yield [Describe(made.picture)]
        thing = f"{made.text} {made.words['object']}"
        wanted = f"A photo of {with_article(thing)}"
        a, b = yield [Understand(caption), Understand(wanted)]
        return cosine(a, b)
