"""Cutting and pasting of pictures: patches, objects on white, squares. Pure functions."""

from random import Random

import numpy as np
from PIL import Image

__all__ = ["cut_out", "find_patch", "paste_at_random", "pasted", "square"]

SHRINK = 0.85  # from one size of a patch to the next smaller one that is tried
SMALLEST = 4  # pixels: of a smaller patch nothing can be seen


def find_patch(
    mask: np.ndarray, rng: Random, least: float, most: float
) -> tuple[int, int, int] | None:
    """(x, y, side) of a random square wholly inside a mask (H, W) of booleans.

    Its side is drawn from [least, most], in pixels, and smaller only where that does not fit
    anywhere; None where nothing does. Of all places where it fits, each is equally likely.
    """
    side = min(round(rng.uniform(least, max(least, most))), *mask.shape)
    # The number of pixels of the mask in any rectangle is a sum of four corners of this one.
    area = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int32), axis=1, out=area[1:, 1:])
    while side >= SMALLEST:
        inside = area[side:, side:] - area[:-side, side:] - area[side:, :-side]
        inside += area[:-side, :-side]
        fits = np.flatnonzero(inside == side * side)
        if len(fits):
            y, x = divmod(int(fits[rng.randrange(len(fits))]), inside.shape[1])
            return x, y, side
        side = int(side * SHRINK)
    return None


def cut_out(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """What a mask (H, W) of booleans covers, on white, cropped to its bounding box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    shape = Image.fromarray(mask[box[1] : box[3], box[0] : box[2]])
    white = Image.new("RGB", shape.size, "white")
    white.paste(picture.crop(box), mask=shape)
    return white


def pasted(picture: Image.Image, alpha: np.ndarray, background: Image.Image) -> Image.Image:
    """A picture over a background resized to it; alpha (H, W) uint8 is 255 where it is seen."""
    below = background.resize(picture.size)
    return Image.composite(picture, below, Image.fromarray(alpha))


def paste_at_random(
    thing: Image.Image, side: int, rng: Random, least: float = 0.8, most: float = 0.95
) -> Image.Image:
    """A thing on a white square of `side` pixels, of a random size and in a random place.

    Its longer side is a share of the square from [least, most]; its aspect ratio is kept.
    """
    scale = rng.uniform(least, most) * side / max(thing.size)
    width, height = (max(1, round(length * scale)) for length in thing.size)
    canvas = Image.new("RGB", (side, side), "white")
    place = (rng.randint(0, side - width), rng.randint(0, side - height))
    canvas.paste(thing.resize((width, height), Image.Resampling.LANCZOS), place)
    return canvas


def square(picture: Image.Image) -> Image.Image:
    """A picture in the middle of a white square that just holds it."""
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), "white")
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas
