"""Measures of rendered pictures: what the judge sees in them, their sharpness, their kind.

The judge shares nothing with the encoders. A judge that does not know a question is not asked it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pops.evaluation.pocket.shown import Shown
from pops.pocket.judge import Judge
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = [
    "ADJECTIVE",
    "ONE_OBJECT",
    "OUTFIT",
    "PAIR",
    "Check",
    "as_pixels",
    "judge_pictures",
    "kid",
    "see",
    "sharpness",
]

# What the judge sees in a picture: question -> answer, None where it is not of the vocabulary.
Seen = dict[str, str | None]

_WORDS: dict[str, Sequence[str]] = {
    "object": OBJECTS,
    "material": MATERIALS,
    "object_b": OBJECTS,
    "material_b": MATERIALS,
    "background": BACKGROUNDS,
    "adjective": ADJECTIVES,
    **{f"worn {garment}": MATERIALS for garment in GARMENTS},
}
BATCH = 64


@dataclass(frozen=True)
class Check:
    """A check of a rendered picture: questions to the judge, and a share from its answers.

    questions: those that the judge must know. share: from the answers and the name of the right
    picture, how much (0 to 1) of what should be seen is seen.
    """

    questions: tuple[str, ...]
    share: Callable[[Seen, Shown], float]


def _only(wanted: Shown) -> tuple[str, str]:
    (thing,) = wanted.things
    return thing


def _both_objects(seen: Seen, wanted: Shown) -> float:
    found = [str(seen["object"]), str(seen["object_b"])]
    return sorted(found) == sorted(shape for shape, _ in wanted.things)


def _both_materials(seen: Seen, wanted: Shown) -> float:
    found = {(seen["object"], seen["material"]), (seen["object_b"], seen["material_b"])}
    return found == wanted.things


def _garments(seen: Seen, wanted: Shown) -> float:
    right = [seen[f"worn {garment}"] == material for garment, material in wanted.things]
    return sum(right) / len(right)


ONE_OBJECT = {
    "object": Check(("object",), lambda seen, wanted: seen["object"] == _only(wanted)[0]),
    "material": Check(("material",), lambda seen, wanted: seen["material"] == _only(wanted)[1]),
    "background": Check(
        ("background",), lambda seen, wanted: seen["background"] == wanted.background
    ),
}
PAIR = {
    "both_objects": Check(("object", "object_b"), _both_objects),
    # Each thing in its own material: swapped ones do not count.
    "both_materials": Check(("object", "object_b", "material", "material_b"), _both_materials),
}
OUTFIT = {"garments": Check(tuple(f"worn {garment}" for garment in GARMENTS), _garments)}
ADJECTIVE = {
    "adjective": Check(("adjective",), lambda seen, wanted: seen["adjective"] == wanted.adjective)
}


def as_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Put the pixels of pictures together.

    Args:
        pictures: N pictures of one size.

    Returns:
        The pixels (N, 3, H, W) in [0, 1].
    """
    stacked = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def see(judge: Judge, pictures: Sequence[Image.Image]) -> list[Seen]:
    """Ask the judge all its questions.

    Args:
        judge: the judge.
        pictures: the pictures, of one size.

    Returns:
        For each picture the answers by question, None where one is not of the vocabulary.
    """
    found: list[Seen] = []
    for start in range(0, len(pictures), BATCH):
        answers = judge.answer(as_pixels(pictures[start : start + BATCH]))
        rows = zip(*(numbers.tolist() for numbers in answers.values()), strict=True)
        for row in rows:
            named = zip(answers, row, strict=True)
            found.append({q: _WORDS[q][n] if n < len(_WORDS[q]) else None for q, n in named})
    return found


def judge_pictures(
    judge: Judge,
    checks: dict[str, Check],
    pictures: Sequence[Image.Image],
    wanted: Sequence[Shown],
) -> dict[str, float]:
    """Ask the judge whether pictures show what they should.

    Args:
        judge: the judge.
        checks: the checks by name; those with a question that the judge does not know are left out.
        pictures: the pictures, of one size.
        wanted: the name of what each should show.

    Returns:
        For each check the mean share over the pictures.
    """
    known = judge.config.questions.keys()
    asked = {name: check for name, check in checks.items() if known >= {*check.questions}}
    if not asked or not pictures:
        return {}
    seen = see(judge, pictures)
    return {name: sum(map(check.share, seen, wanted)) / len(seen) for name, check in asked.items()}


# --- pictures against pictures --------------------------------------------------------------


def _gradient(pictures: Sequence[Image.Image]) -> float:
    """Compute the mean length of the gradient over pixels and colours."""
    pixels = as_pixels(pictures)
    across = pixels[..., :-1, 1:] - pixels[..., :-1, :-1]
    down = pixels[..., 1:, :-1] - pixels[..., :-1, :-1]
    return float((across.square() + down.square()).sqrt().mean())


def sharpness(pictures: Sequence[Image.Image], true: Sequence[Image.Image]) -> float:
    """Compare the sharpness of pictures with that of true ones.

    Args:
        pictures: pictures of one size.
        true: true pictures of the same size.

    Returns:
        The mean length of the gradient over that of the true pictures; 1 is best.
    """
    return _gradient(pictures) / _gradient(true)


@torch.no_grad()
def _features(judge: Judge, pictures: Sequence[Image.Image]) -> Tensor:
    pixels = as_pixels(pictures)
    return torch.cat([judge.features(some) for some in pixels.split(BATCH)]).double()


def kid(judge: Judge, pictures: Sequence[Image.Image], true: Sequence[Image.Image]) -> float:
    """Measure the kernel distance of two sets of pictures in the judge's features.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel
    (x . y / d + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401); features are scaled to a mean
    square of 1 over the true pictures.

    Args:
        judge: the judge.
        pictures: at least two pictures of one size.
        true: at least two true pictures of the same size.

    Returns:
        The distance; 0 is best, and the estimate can be a little less.
    """
    x, y = _features(judge, pictures), _features(judge, true)
    scale = y.square().mean().sqrt().clamp_min(1e-12)
    x, y = x / scale, y / scale

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        found = kernel(a, a)
        return (found.sum() - found.trace()) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())
