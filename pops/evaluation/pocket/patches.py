"""Square patches of a material that the benchmark and the training cut out of pictures."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pops.data.cutting import find_square

__all__ = ["crop_patch", "find_patch"]

SIDES = (28, 22, 16, 12, 9, 7, 6)  # of patches, in 64ths of the picture's side


def find_patch(mask: np.ndarray, rng: random.Random) -> tuple[int, int, int] | None:
    """Find a random square that lies wholly inside a square mask, as large as the mask allows.

    Args:
        mask: (H, H) of booleans.
        rng: chooses the largest size that is tried, and the place.

    Returns:
        (x, y, side) in pixels; None where not even 6 in 64 of the picture's side fit.
    """
    largest = rng.choice(SIDES[:3])
    sides = [side * len(mask) // 64 for side in SIDES if side <= largest]
    return find_square(mask, rng, sides)


def crop_patch(picture: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut a square out of a picture and enlarge it to the picture's size.

    Args:
        picture: (3, H, W) in [0, 1].
        patch: (x, y, side) in pixels.

    Returns:
        The patch (3, H, W) in [0, 1].
    """
    x, y, side = patch
    piece = picture[None, :, y : y + side, x : x + side]
    size = picture.shape[-2:]
    return torch.nn.functional.interpolate(piece, size, mode="bicubic").clamp(0, 1)[0]
