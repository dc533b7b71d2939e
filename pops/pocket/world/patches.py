"""Square patches of a material, cut out of a picture."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["crop_patch", "find_patch"]


def find_patch(mask: np.ndarray, rng: random.Random) -> tuple[int, int, int] | None:
    """Find a random square that lies wholly inside a mask, as large as the mask allows.

    Args:
        mask: (H, W) of booleans.
        rng: chooses the largest size that is tried, and the place.

    Returns:
        (x, y, side) in pixels; None where not even 6 in 64 of the picture's side fit.
    """
    summed = np.pad(mask.astype(np.int32), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    largest = rng.choice((28, 22, 16))
    for side in (s * len(mask) // 64 for s in (28, 22, 16, 12, 9, 7, 6) if s <= largest):
        inside = (
            summed[side:, side:]
            - summed[:-side, side:]
            - summed[side:, :-side]
            + summed[:-side, :-side]
        )
        ys, xs = np.nonzero(inside == side * side)
        if len(ys):
            k = rng.randrange(len(ys))
            return int(xs[k]), int(ys[k]), side
    return None


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
