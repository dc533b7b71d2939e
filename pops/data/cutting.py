"""Cutting and pasting of pictures: patches, objects on white, squares. Pure functions."""

from collections.abc import Iterable, Iterator
from random import Random

import numpy as np
from PIL import Image

__all__ = [
    "Box",
    "cut_out",
    "find_patch",
    "find_square",
    "mask_box",
    "paste_at_random",
    "pasted",
    "square",
]

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels; x2 and y2 exclusive

SHRINK = 0.85  # ratio of the side of a patch to that of the one tried before
SMALLEST = 4  # pixels; nothing can be seen in a smaller patch


def mask_box(mask: np.ndarray) -> Box | None:
    """Find the smallest box around all that is set in a mask.

    Args:
        mask: (H, W) of booleans.

    Returns:
        The box; None for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def find_square(mask: np.ndarray, rng: Random, sides: Iterable[int]) -> tuple[int, int, int] | None:
    """Find a random square that lies wholly inside a mask.

    All places where a square of the first side that fits anywhere fits are equally likely.

    Args:
        mask: (H, W) of booleans.
        rng: The generator of the place.
        sides: The sides to try one after the other, in pixels, none longer than the mask's.

    Returns:
        (x, y, side) of the square; None where no square fits.
    """
    # The number of pixels of the mask in any rectangle is a sum of four corners of this one.
    area = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int32), axis=1, out=area[1:, 1:])
    for side in sides:
        inside = area[side:, side:] - area[:-side, side:] - area[side:, :-side]
        inside += area[:-side, :-side]
        fits = np.flatnonzero(inside == side * side)
        if len(fits):
            y, x = divmod(int(fits[rng.randrange(len(fits))]), inside.shape[1])
            return x, y, side
    return None


def find_patch(
    mask: np.ndarray, rng: Random, least: float, most: float
) -> tuple[int, int, int] | None:
    """Find a random square of a random side that lies wholly inside a mask.

    A smaller side than the drawn one is tried only where that one fits nowhere.

    Args:
        mask: (H, W) of booleans.
        rng: The generator of the side and the place.
        least: The smallest side that is drawn, in pixels.
        most: The largest side that is drawn, in pixels.

    Returns:
        (x, y, side) of the square; None where no square fits.
    """
    drawn = min(round(rng.uniform(least, max(least, most))), *mask.shape)
    return find_square(mask, rng, _shrinking(drawn))


def _shrinking(side: int) -> Iterator[int]:
    while side >= SMALLEST:
        yield side
        side = int(side * SHRINK)


def cut_out(picture: Image.Image, mask: np.ndarray, box: Box | None = None) -> Image.Image:
    """Cut out what a mask covers and put it on white.

    Args:
        picture: An RGB picture, (H, W).
        mask: (H, W) of booleans, not all of them false.
        box: What the result is cropped to; None for the smallest box around the mask.

    Returns:
        The cut-out, as large as the box.
    """
    x1, y1, x2, y2 = mask_box(mask) or (0, 0, 0, 0) if box is None else box
    shape = Image.fromarray(mask[y1:y2, x1:x2])
    white = Image.new("RGB", shape.size, "white")
    white.paste(picture.crop((x1, y1, x2, y2)), mask=shape)
    return white


def pasted(picture: Image.Image, alpha: np.ndarray, background: Image.Image) -> Image.Image:
    """Paste a picture over a background, which is resized to it.

    Args:
        picture: The picture, (H, W).
        alpha: (H, W) uint8: 255 where the picture is seen, 0 where the background is.
        background: The picture behind it, of any size.

    Returns:
        A new picture of the size of `picture`.
    """
    below = background.resize(picture.size)
    return Image.composite(picture, below, Image.fromarray(alpha))


def paste_at_random(
    thing: Image.Image, side: int, rng: Random, least: float = 0.8, most: float = 0.95
) -> Image.Image:
    """Paste a thing on a white square, with a random size and in a random place.

    Args:
        thing: The picture that is pasted; its aspect ratio is kept.
        side: Pixels of a side of the square.
        rng: The generator of size and place.
        least: The smallest share of `side` that the thing's longer side gets.
        most: The largest share.

    Returns:
        The square.
    """
    scale = rng.uniform(least, most) * side / max(thing.size)
    width, height = (max(1, round(length * scale)) for length in thing.size)
    canvas = Image.new("RGB", (side, side), "white")
    place = (rng.randint(0, side - width), rng.randint(0, side - height))
    canvas.paste(thing.resize((width, height), Image.Resampling.LANCZOS), place)
    return canvas


def square(picture: Image.Image) -> Image.Image:
    """Put a picture into the middle of a white square that just holds it.

    Args:
        picture: An RGB picture.

    Returns:
        The square.
    """
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), "white")
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas
