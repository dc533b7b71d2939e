"""A detector that is made of CLIP alone: the window of a picture that is most like a label.

It is what there is where no detector is, as on the pocket stack; coarse, but it knows every word
that CLIP knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pops.datagen.stages import Box, Detect, Detection
from pops.datagen.words import with_article
from pops.evaluation.stages import Look, Read

__all__ = ["Windows", "window_boxes"]

SIDES = (0.5, 0.75, 1.0)  # of a window, as shares of the picture's
PLACES = 3  # of windows of a side, along each side of the picture
SHARPNESS = 100.0  # the scale of cosines in CLIP


def window_boxes(width: int, height: int) -> list[Box]:
    """List the windows of a picture.

    Args:
        width: The width of the picture in pixels.
        height: Its height in pixels.

    Returns:
        Boxes (left, top, right, bottom), the whole picture last.
    """
    boxes = []
    for side in SIDES:
        wide, high = round(width * side), round(height * side)
        places = range(PLACES if side < 1 else 1)
        for row in places:
            for column in places:
                left = round((width - wide) * column / max(1, PLACES - 1))
                top = round((height - high) * row / max(1, PLACES - 1))
                boxes.append((left, top, left + wide, top + high))
    return boxes


class Windows:
    """Finds labels by the likeness of windows to a label, against all other words."""

    def __init__(
        self, clip: Callable[[Sequence[Any]], Sequence[Any]], words: Sequence[str]
    ) -> None:
        self.clip = clip
        self.words = tuple(words)
        self._read: dict[str, np.ndarray] = {}  # the embedding of each word

    def __call__(self, asked: Sequence[Detect]) -> list[Detection | None]:
        seen: dict[int, tuple[list[Box], np.ndarray]] = {}
        for request in asked:
            image = request.picture.image
            if id(image) not in seen:
                boxes = window_boxes(*image.size)
                looks = [Look(image.crop(box).resize(image.size)) for box in boxes]
                seen[id(image)] = boxes, np.stack(self.clip(looks))
        return [self._find(request, *seen[id(request.picture.image)]) for request in asked]

    def _find(self, request: Detect, boxes: list[Box], looks: np.ndarray) -> Detection | None:
        words = [request.label, *(word for word in self.words if word != request.label)]
        new = [word for word in words if word not in self._read]
        if new:
            texts = self.clip([Read(f"a photo of {with_article(word)}") for word in new])
            self._read |= dict(zip(new, texts, strict=True))
        texts = np.stack([self._read[word] for word in words])
        likeness = SHARPNESS * looks @ texts.T  # (windows, words)
        shares = np.exp(likeness - likeness.max(1, keepdims=True))
        score = shares[:, 0] / shares.sum(1)
        best = int(score.argmax())
        if score[best] < request.threshold:
            return None
        return Detection(boxes[best], float(score[best]))
