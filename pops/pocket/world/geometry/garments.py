"""A mannequin and what it can wear, as signed distance functions in one common space.

The garments of the mannequin fit it without any placing: every function here is given in the
space of the body, which is 1.8 units tall.
"""

import torch
from torch import Tensor

from pops.pocket.world.geometry.shapes import (
    Points,
    Shape,
    blend,
    box,
    ellipsoid,
    lathe,
    rod,
    shift,
    sphere,
    torus,
    union,
)

__all__ = ["GARMENT_SHAPES"]


def _legs(p: Points, grow: float, down_to: float) -> Tensor:
    q = (p[0].abs(), p[1], p[2])
    return rod(q, (0.13, 0.86, 0), (0.17, down_to, 0), 0.13 + grow, 0.085 + grow)


def _torso(p: Points, grow: float) -> Tensor:
    chest = ellipsoid(shift(p, 0, 1.2), 0.27 + grow, 0.3 + grow, 0.17 + grow)
    waist = ellipsoid(shift(p, 0, 0.93), 0.22 + grow, 0.2 + grow, 0.16 + grow)
    return blend(chest, waist, 0.1)


def _arms(p: Points, grow: float, to: float) -> Tensor:
    """Shape the arms from the shoulder to a share `to` of their length."""
    q = (p[0].abs(), p[1], p[2])
    hand = (0.3 + 0.22 * to, 1.34 - 0.6 * to, 0.02)
    return rod(q, (0.27, 1.36, 0), hand, 0.085 + grow, 0.085 - 0.025 * to + grow)


def mannequin(p: Points) -> Tensor:
    head = ellipsoid(shift(p, 0, 1.68), 0.13, 0.17, 0.14)
    neck = rod(p, (0, 1.4, 0), (0, 1.58, 0), 0.06, 0.06)
    q = (p[0].abs(), p[1], p[2])
    feet = ellipsoid(shift(q, 0.18, 0.04, 0.07), 0.08, 0.06, 0.16)
    body = blend(_torso(p, 0.0), _legs(p, -0.02, 0.06), 0.06)
    return union(blend(body, _arms(p, -0.02, 1.0), 0.05), head, neck, feet)


def hat_worn(p: Points) -> Tensor:
    brim = [(0.0, 1.74), (0.3, 1.73), (0.3, 1.76), (0.16, 1.78), (0.15, 2.0), (0.0, 2.0)]
    return lathe(p, brim, 0.02)


def top(p: Points) -> Tensor:
    shirt = blend(_torso(p, 0.035), _arms(p, 0.02, 0.62), 0.05)
    return torch.maximum(shirt, 0.84 - p[1])


def skirt(p: Points) -> Tensor:
    return lathe((p[0], p[1], p[2] * 1.15), [(0.0, 0.42), (0.44, 0.42), (0.22, 0.96), (0.0, 0.96)])


def trousers(p: Points) -> Tensor:
    hips = ellipsoid(shift(p, 0, 0.88), 0.275, 0.16, 0.2)
    return blend(_legs(p, 0.03, 0.14), torch.maximum(hips, p[1] - 0.98), 0.05)


def shoes(p: Points) -> Tensor:
    q = (p[0].abs(), p[1], p[2])
    sole = ellipsoid(shift(q, 0.18, 0.05, 0.09), 0.13, 0.09, 0.23)
    return torch.maximum(
        blend(sole, rod(q, (0.18, 0.08, 0), (0.18, 0.2, 0), 0.11, 0.1), 0.06), -p[1]
    )


def bag(p: Points) -> Tensor:
    x, y, z = shift(p, -0.6, 0.62, 0.06)
    strap = torus(x, y - 0.16, z, 0.14, 0.025)
    return union(box((x, y, z), 0.2, 0.17, 0.09, 0.04), strap)


def scarf(p: Points) -> Tensor:
    x, y, z = shift(p, 0, 1.47)
    loop = torus(x, z, y, 0.13, 0.075)
    tail = box(shift(p, 0.08, 1.2, 0.2), 0.075, 0.25, 0.035)
    knot = sphere(shift(p, 0.07, 1.42, 0.17), 0.085)
    return union(loop, tail, knot)


GARMENT_SHAPES: dict[str, Shape] = {
    "mannequin": mannequin,
    "worn hat": hat_worn,
    "worn top": top,
    "worn skirt": skirt,
    "worn trousers": trousers,
    "worn shoes": shoes,
    "worn bag": bag,
    "worn scarf": scarf,
}
