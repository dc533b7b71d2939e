"""Agreement of a picture's shapes with those of an input: edges, and depth."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pops.evaluation.metrics.base import Made, Measuring, Metric
from pops.evaluation.stages import EstimateDepth

__all__ = ["DepthAgreement", "EdgeAgreement"]

SIDE = 64  # pixels that pictures are compared at
BLUR = 1.0  # pixels of that size by which edges may be moved


class EdgeAgreement(Metric):
    """The correlation of the edges of the picture with those of an input. It needs no model."""

    stages = ()

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.name = f"{slot}_edges"
        self.title = f"agreement of edges with the {slot}"

    def __call__(self, made: Made) -> Measuring:
        yield from ()  # it asks nothing, but is a generator as every metric is
        return _correlation(_edges(made.picture), _edges(made.inputs[self.slot]))


class DepthAgreement(Metric):
    """The correlation of the depth of the picture with that of an input."""

    stages = ("depth",)

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.name = f"{slot}_depth"
        self.title = f"agreement of depth with the {slot}"

    def __call__(self, made: Made) -> Measuring:
        maps = yield [EstimateDepth(made.picture), EstimateDepth(made.inputs[self.slot])]
        a, b = (np.asarray(_small(Image.fromarray(one.astype(np.float32)))) for one in maps)
        return _correlation(a, b)


def _edges(picture: Image.Image) -> np.ndarray:
    """Compute the strength of edges (SIDE, SIDE), the gradient of the blurred picture."""
    from scipy import ndimage

    grey = np.asarray(_small(picture.convert("L")), dtype=np.float32)
    return np.asarray(ndimage.gaussian_gradient_magnitude(grey, BLUR))


def _small(picture: Image.Image) -> Image.Image:
    return picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Compute Pearson's correlation; None where one of both is flat."""
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    if a.std() < 1e-9 or b.std() < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])
