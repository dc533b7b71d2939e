"""Human parsing: maps that say of every pixel of a person what it shows, and the garments in them.

The labels are those of the ATR dataset; the garments are the slots of the clothes operator.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from pops.data.cutting import cut_out, mask_box
from pops.operators import GARMENTS

__all__ = [
    "FACE",
    "GARMENT_LABELS",
    "LARGEST_LABEL",
    "LEAST_AREA",
    "LEAST_SIDE",
    "LEFT_LEG",
    "cut_garment",
]

GARMENT_LABELS = dict(zip(GARMENTS, (*range(1, 11), 16, 17), strict=True))
FACE, LEFT_LEG = 11, 12
LARGEST_LABEL = 17
LEAST_SIDE = 60  # pixels of the shorter side of a garment that is worth showing
LEAST_AREA = 1800  # pixels of such a garment


def cut_garment(
    picture: Image.Image,
    mask: np.ndarray,
    least_side: float = LEAST_SIDE,
    least_area: float = LEAST_AREA,
) -> Image.Image | None:
    """Cut a garment out of a picture, unless it is too small to be worth showing.

    Args:
        picture: The person, (H, W).
        mask: Where the garment is, (H, W) of booleans.
        least_side: Pixels that the shorter side of the garment's box has at least.
        least_area: Pixels that the garment has at least.

    Returns:
        The garment on white, cropped to its box; None where it is too small.
    """
    if np.count_nonzero(mask) < max(1.0, least_area):
        return None
    box = mask_box(mask)
    if box is None or min(box[2] - box[0], box[3] - box[1]) < least_side:
        return None
    return cut_out(picture, mask, box)
