"""Boxes and masks: pure functions on arrays (H, W) and boxes (x1, y1, x2, y2)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from pops.datagen.stages import Box

__all__ = ["box_iou", "crop_on_white", "dilate", "mask_box", "pad_to_square"]


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / both if both else 0.0


def mask_box(mask: np.ndarray) -> Box | None:
    """The box round what is set; None where nothing is."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return None
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def dilate(mask: np.ndarray, size: int) -> np.ndarray:
    """The mask grown by a square of `size` pixels (the next odd number)."""
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(size | 1))
    return np.asarray(grown) > 0


def crop_on_white(image: Image.Image, mask: np.ndarray, box: Box) -> Image.Image:
    """What is inside the mask, on white, cropped to the box."""
    white = Image.new("RGB", image.size, "white")
    return Image.composite(image, white, Image.fromarray(mask.astype(np.uint8) * 255)).crop(box)


def pad_to_square(pixels: np.ndarray, value: int) -> np.ndarray:
    """(H, W) or (H, W, C) centred in a square of `value`."""
    high, wide = pixels.shape[:2]
    side = max(high, wide)
    top, left = (side - high) // 2, (side - wide) // 2
    around = [(top, side - high - top), (left, side - wide - left)]
    around += [(0, 0)] * (pixels.ndim - 2)
    return np.pad(pixels, around, constant_values=value)
