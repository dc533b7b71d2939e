"""Boxes and masks: pure functions on arrays (H, W) and boxes (x1, y1, x2, y2)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from pops.data.cutting import Box

__all__ = ["box_iou", "dilate", "pad_to_square"]


def box_iou(a: Box, b: Box) -> float:
    """Compute the intersection over union of two boxes.

    Args:
        a: A box.
        b: Another box.

    Returns:
        From 0, where they do not meet, to 1, where they are the same.
    """
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / both if both else 0.0


def dilate(mask: np.ndarray, size: int) -> np.ndarray:
    """Grow a mask by a square.

    Args:
        mask: (H, W) of booleans.
        size: The side of the square in pixels; an even number counts as the next odd one.

    Returns:
        (H, W) of booleans.
    """
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(size | 1))
    return np.asarray(grown) > 0


def pad_to_square(pixels: np.ndarray, value: int) -> np.ndarray:
    """Centre pixels in a square that just holds them.

    Args:
        pixels: (H, W) or (H, W, C).
        value: The value of the pixels around them.

    Returns:
        (S, S) or (S, S, C), where S is the larger of H and W.
    """
    high, wide = pixels.shape[:2]
    side = max(high, wide)
    top, left = (side - high) // 2, (side - wide) // 2
    around = [(top, side - high - top), (left, side - wide - left)]
    around += [(0, 0)] * (pixels.ndim - 2)
    return np.pad(pixels, around, constant_values=value)
