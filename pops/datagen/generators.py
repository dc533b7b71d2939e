"""One script for each kind of record: from a prompt, through the stages, to its files.

A script is a Python generator. It yields requests of one stage, is sent the answers, and returns
its sample; it raises `Rejected` where the answers do not fit. All its randomness is from the
`Random` that it is given. Sizes in pixels are meant for pictures 512 wide, as the published ones
are, and scale with the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from pops.data.cutting import Box, cut_out
from pops.data.human_parsing import GARMENT_LABELS, LEAST_AREA, LEAST_SIDE, cut_garment
from pops.datagen.masks import box_iou, dilate, pad_to_square
from pops.datagen.sample import Content, Rejected, Sample, Script
from pops.datagen.stages import (
    Depth2Image,
    Detect,
    Inpaint,
    LoadPerson,
    Picture,
    Segment,
    Text2Image,
)
from pops.datagen.words import PromptWords, file_word, with_article
from pops.errors import UsageError

__all__ = ["GENERATORS", "AttemptInputs", "Generator", "new_seed"]

VARIANTS = 5
DETECTION_OF_ONE = 0.1  # least score of a thing alone in its picture
DETECTION_OF_TWO = 0.2
LARGEST_IOU = 0.1  # largest overlap of the boxes of two things
LEAST_BOX = 5000.0  # square pixels
LEAST_FOREGROUND = 0.1  # share of a box
LEAST_MASK, LARGEST_MASK = 0.01, 0.8  # share of a picture
DILATION = 31  # pixels, so that no edge of the thing is left
PUBLISHED_SIDE = 512


@dataclass(frozen=True)
class AttemptInputs:
    """All that an attempt at a sample depends on."""

    words: PromptWords
    rng: Random
    index: int  # the number of the sample
    number: int  # picture of a set to take; another one for each attempt


@dataclass(frozen=True)
class Generator:
    """A kind of record.

    Args:
        script: makes a sample of it.
        stages: the stages that the script asks, each once and in this order.
        least_words: how many different words of a list the script takes at least, by its name.
    """

    script: Callable[[AttemptInputs], Script]
    stages: tuple[str, ...]
    least_words: Mapping[str, int] = field(default_factory=dict)

    def check_words(self, words: PromptWords) -> None:
        """Check that there are words enough, without which the script would never end.

        Args:
            words: the words of the prompts.

        Raises:
            UsageError: a list has too few.
        """
        for name, least in self.least_words.items():
            there = len(set(getattr(words, name)))
            if there < least:
                raise UsageError(
                    f"--{name}_path: the list must hold {least} words or more, not {there}"
                )


def new_seed(rng: Random) -> int:
    """Draw a seed for a model, from so many that no two samples of a run share one.

    Args:
        rng: The generator.

    Returns:
        A number of 48 bits.
    """
    return rng.getrandbits(48)


def textures(inputs: AttemptInputs) -> Script:
    """Make a thing, and the same in five other materials: one folder.

    Args:
        inputs: All that the sample depends on.

    Yields:
        Requests of one stage.

    Returns:
        The sample.
    """
    rng = inputs.rng
    thing, placement = rng.choice(inputs.words.objects), rng.choice(inputs.words.placements)
    prompt, seed = f"A {thing} {placement}", new_seed(rng)
    (base,) = yield [Text2Image(prompt, seed)]
    (found,) = yield [Detect(base, thing, DETECTION_OF_ONE)]
    if found is None:
        raise Rejected("no detection")
    (mask,) = yield [Segment(base)]
    _check_mask(mask, found.box)
    looks = inputs.words.materials(rng, thing, placement, VARIANTS, base.materials)
    asked = [
        Depth2Image(base, f"A {thing} made from {', '.join(look)} {placement}", new_seed(rng))
        for look in looks
    ]
    variants = yield asked
    name = f"{file_word(thing)}_{file_word(placement)}_{seed}"
    files: dict[str, Content] = {
        f"{name}/box.json": list(found.box),
        f"{name}/mask.png": _black_and_white(mask),
    }
    made = []
    for look, request, variant in zip(looks, asked, variants, strict=True):
        file = f"{'-'.join(file_word(word) for word in look)[:120]}_{request.seed}.jpg"
        files[f"{name}/{file}"] = variant.image
        made.append(_about(variant, file=file, prompt=request.prompt, seed=request.seed, look=look))
    files[f"{name}/base.jpg"] = base.image
    facts = _about(base, prompt=prompt, seed=seed, object=thing, placement=placement)
    return Sample(name, files, {**facts, "box": list(found.box), "variants": made})


def scenes(inputs: AttemptInputs) -> Script:
    """Make a thing in a place, and the place without it.

    Args:
        inputs: All that the sample depends on.

    Yields:
        Requests of one stage.

    Returns:
        The sample.
    """
    rng = inputs.rng
    thing, placement = rng.choice(inputs.words.objects), rng.choice(inputs.words.placements)
    prompt, seed = f"A photo of {thing} {placement}", new_seed(rng)
    behind, behind_seed = f"A photo {placement}", new_seed(rng)
    (picture,) = yield [Text2Image(prompt, seed)]
    (mask,) = yield [Segment(picture)]
    _check_mask(mask)
    hole = dilate(mask, max(3, round(DILATION * _scale(picture.image))))
    (background,) = yield [Inpaint(picture, hole, behind, behind_seed)]
    name = f"{file_word(thing)}_{file_word(placement)}_{seed}"
    files: dict[str, Content] = {
        f"{name}_inpainted.npy": mask.astype(np.uint8) * 255,
        f"{name}_inpainted.jpg": background.image,
        f"{name}.jpg": picture.image,
    }
    facts = _about(picture, prompt=prompt, seed=seed, object=thing, placement=placement)
    inpainted = _about(background, prompt=behind, seed=behind_seed)
    return Sample(name, files, {**facts, "inpainted": inpainted})


def unions(inputs: AttemptInputs) -> Script:
    """Make two things in one picture, and cut out each of them.

    Args:
        inputs: All that the sample depends on.

    Yields:
        Requests of one stage.

    Returns:
        The sample.
    """
    rng = inputs.rng
    first, second = rng.sample(inputs.words.objects, 2)
    placement, seed = rng.choice(inputs.words.placements), new_seed(rng)
    prompt = f"A photo of {with_article(first)} and {with_article(second)} {placement}"
    (picture,) = yield [Text2Image(prompt, seed)]
    labels = (first, second)
    found = yield [Detect(picture, label, DETECTION_OF_TWO) for label in labels]
    if None in found:
        raise Rejected("no detection")
    boxes = [detection.box for detection in found]
    _check_boxes(boxes, picture.image)
    masks = yield [Segment(picture, box) for box in boxes]
    for mask, box in zip(masks, boxes, strict=True):
        _check_foreground(mask, box)
    name = f"{file_word(first)}_{file_word(second)}_{file_word(placement)}_{seed}"
    files: dict[str, Content] = {
        f"{name}_OBJ_{i}.png": cut_out(picture.image, mask, box)
        for i, (mask, box) in enumerate(zip(masks, boxes, strict=True))
    }
    plain_boxes = [list(box) for box in boxes]
    files[f"{name}.json"] = {"boxes": plain_boxes, "labels": list(labels), "prompt": prompt}
    files[f"{name}.jpg"] = picture.image
    facts = _about(picture, prompt=prompt, seed=seed, objects=list(labels), placement=placement)
    return Sample(name, files, {**facts, "boxes": plain_boxes})


def random_objects(inputs: AttemptInputs) -> Script:
    """Make one picture of a thing somewhere.

    Args:
        inputs: All that the sample depends on.

    Yields:
        Requests of one stage.

    Returns:
        The sample.
    """
    rng = inputs.rng
    thing, placement = rng.choice(inputs.words.objects), rng.choice(inputs.words.placements)
    return (
        yield from _random(thing, placement, f"A photo of {with_article(thing)} {placement}", rng)
    )


def random_scenes(inputs: AttemptInputs) -> Script:
    """Make one picture of a place with nothing in particular in it.

    Args:
        inputs: All that the sample depends on.

    Yields:
        Requests of one stage.

    Returns:
        The sample.
    """
    placement = inputs.rng.choice(inputs.words.placements)
    return (yield from _random("scene", placement, f"An empty place {placement}", inputs.rng))


def _random(thing: str, placement: str, prompt: str, rng: Random) -> Script:
    seed = new_seed(rng)
    (picture,) = yield [Text2Image(prompt, seed)]
    name = f"{file_word(thing)}_{file_word(placement)}_{seed}"
    facts = _about(picture, prompt=prompt, seed=seed, object=thing, placement=placement)
    return Sample(name, {f"{name}.jpg": picture.image}, facts)


def clothes(inputs: AttemptInputs) -> Script:
    """Take a dressed person with the label of every pixel, and cut out each garment.

    Args:
        inputs: All that the sample depends on.

    Yields:
        Requests of one stage.

    Returns:
        The sample.
    """
    seed = new_seed(inputs.rng)
    (person,) = yield [LoadPerson(inputs.number, seed)]
    image, labels = person.picture.image, person.labels
    name = f"person_{inputs.index}_{seed}"
    files: dict[str, Content] = {}
    scale = _scale(image)
    for garment, label in GARMENT_LABELS.items():
        piece = cut_garment(image, labels == label, LEAST_SIDE * scale, LEAST_AREA * scale**2)
        if piece is not None:
            files[f"garments/{garment}/{name}.png"] = piece
    if not files:
        raise Rejected("no garment large enough")
    worn = [path.split("/")[1] for path in files]
    files[f"{name}_mask.png"] = Image.fromarray(pad_to_square(labels, 0))
    files[f"{name}.jpg"] = Image.fromarray(pad_to_square(np.asarray(image), 255))
    return Sample(
        name, files, _about(person.picture, seed=seed, number=inputs.number, garments=worn)
    )


GENERATORS = {
    "textures": Generator(
        textures,
        ("text2image", "detect", "segment", "depth2image"),
        {"attributes": 3},  # of two, less than five different looks can be made
    ),
    "scenes": Generator(scenes, ("text2image", "segment", "inpaint")),
    "unions": Generator(unions, ("text2image", "detect", "segment"), {"objects": 2}),
    "random objects": Generator(random_objects, ("text2image",)),
    "random scenes": Generator(random_scenes, ("text2image",)),
    "clothes": Generator(clothes, ("people",)),
}


# --- checks ---------------------------------------------------------------------------------


def _scale(image: Image.Image) -> float:
    return image.width / PUBLISHED_SIDE


def _check_mask(mask: np.ndarray, box: Box | None = None) -> None:
    share = float(mask.mean())
    if share < LEAST_MASK:
        raise Rejected("mask too small")
    if share > LARGEST_MASK:
        raise Rejected("mask too large")
    if box is not None:
        _check_foreground(mask, box)


def _check_foreground(mask: np.ndarray, box: Box) -> None:
    x1, y1, x2, y2 = box
    inside = mask[y1:y2, x1:x2]
    if not inside.size or inside.mean() < LEAST_FOREGROUND:
        raise Rejected("little foreground in the box")


def _check_boxes(boxes: list[Box], image: Image.Image) -> None:
    least = LEAST_BOX * _scale(image) ** 2
    if any((x2 - x1) * (y2 - y1) < least for x1, y1, x2, y2 in boxes):
        raise Rejected("box too small")
    if box_iou(boxes[0], boxes[1]) > LARGEST_IOU:
        raise Rejected("boxes overlap")


def _black_and_white(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _about(picture: Picture, **facts: Any) -> dict[str, Any]:
    """Add to the facts of a picture what exactly it shows, where that is known."""
    return facts if picture.world is None else {**facts, "world": picture.world}
