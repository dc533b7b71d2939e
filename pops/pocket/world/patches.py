"""Square patches of a material, cut out of a picture."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["crop_patch", "find_patch"]


def find_patch(mask: np.ndarray, rng: random.Random) -> tuple[int, int, int] | None:
    """(x, y, side) of a random square wholly inside a mask (H, W), as large as it gives.

    None where not even 3 in 32 of the picture's side fit.
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
    """The patch (x, y, side) of a picture (3, H, W) in [0, 1], enlarged to the picture's size."""
    x, y, side = patch
    piece = picture[None, :, y : y + side, x : x + side]
    size = picture.shape[-2:]
    return torch.nn.functional.interpolate(piece, size, mode="bicubic").clamp(0, 1)[0]
