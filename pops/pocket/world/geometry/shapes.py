"""The objects, as signed distance functions.

A shape maps the coordinates of N points, `(x, y, z)` each of shape (N,), to their signed
distance (N,). It stands on the plane y = 0, is about 1.7 units tall or wide, and shows its front
to +z. The distances are exact or slightly short, so a sphere tracer never steps through.
The formulas are the common ones of the field (Quilez, "distance functions").
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["SHAPES", "Points", "Shape"]

Points = tuple[Tensor, Tensor, Tensor]
Shape = Callable[[Points], Tensor]


# --- primitives -----------------------------------------------------------------------------


def shift(p: Points, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Points:
    return p[0] - x, p[1] - y, p[2] - z


def turn(a: Tensor, b: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Rotate the plane (a, b) by an angle."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * a + s * b, c * b - s * a


def norm2(a: Tensor, b: Tensor) -> Tensor:
    return torch.sqrt(a * a + b * b)


def norm3(p: Points) -> Tensor:
    return torch.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2])


def sphere(p: Points, r: float) -> Tensor:
    return norm3(p) - r


def ellipsoid(p: Points, rx: float, ry: float, rz: float) -> Tensor:
    # A bound, not the exact distance; good near the surface.
    q = (p[0] / rx, p[1] / ry, p[2] / rz)
    k0 = norm3(q)
    k1 = norm3((q[0] / rx, q[1] / ry, q[2] / rz)).clamp_min(1e-6)
    return k0 * (k0 - 1.0) / k1


def box(p: Points, hx: float, hy: float, hz: float, r: float = 0.03) -> Tensor:
    """Shape a box of half sizes (hx, hy, hz), its edges rounded by r."""
    x, y, z = p[0].abs() - (hx - r), p[1].abs() - (hy - r), p[2].abs() - (hz - r)
    inside = torch.maximum(x, torch.maximum(y, z)).clamp_max(0.0)
    return norm3((x.clamp_min(0), y.clamp_min(0), z.clamp_min(0))) + inside - r


def rod(p: Points, a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> Tensor:
    """Shape a capsule from a to b whose radius goes from ra to rb."""
    ab = [b[i] - a[i] for i in range(3)]
    q = shift(p, *a)
    t = (q[0] * ab[0] + q[1] * ab[1] + q[2] * ab[2]) / sum(v * v for v in ab)
    t = t.clamp(0, 1)
    return norm3((q[0] - t * ab[0], q[1] - t * ab[1], q[2] - t * ab[2])) - (ra + (rb - ra) * t)


def cylinder(a: Tensor, b: Tensor, along: Tensor, r: float, h: float, e: float = 0.03) -> Tensor:
    """Shape a disc of radius r in the plane (a, b), half height h along the third axis."""
    d, y = norm2(a, b) - (r - e), along.abs() - (h - e)
    return torch.maximum(d, y).clamp_max(0) + norm2(d.clamp_min(0), y.clamp_min(0)) - e


def torus(a: Tensor, b: Tensor, along: Tensor, ring: float, tube: float) -> Tensor:
    return norm2(norm2(a, b) - ring, along) - tube


def lathe(p: Points, profile: Sequence[tuple[float, float]], r: float = 0.03) -> Tensor:
    """Shape the solid that a closed polygon of (radius, height) corners sweeps round the y axis."""
    return polygon(norm2(p[0], p[2]), p[1], profile) - r


def polygon(u: Tensor, v: Tensor, corners: Sequence[tuple[float, float]]) -> Tensor:
    """Compute the exact signed distance to a polygon in the plane (u, v)."""
    a = torch.tensor(corners)[:, :, None]  # (E, 2, 1)
    e = a.roll(1, 0) - a
    ax, ay, ex, ey = a[:, 0], a[:, 1], e[:, 0], e[:, 1]
    wx, wy = u - ax, v - ay  # (E, N)
    t = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp_(0, 1)
    gap = (wx - t * ex).square_() + (wy - t * ey).square_()
    # A point is inside when a line from it crosses the outline an odd number of times.
    above, below, left = wy >= 0, wy < ey, ex * wy > ey * wx
    crossed = (above & below & left) | ~(above | below | left)
    inside = crossed.sum(0) % 2 == 1
    distance = gap.amin(0).sqrt_()
    return torch.where(inside, -distance, distance)


def slab(flat: Tensor, along: Tensor, h: float, r: float = 0.02) -> Tensor:
    """Make a plane figure solid: half thickness h along the third axis."""
    d, y = flat + r, along.abs() - (h - r)
    return torch.maximum(d, y).clamp_max(0) + norm2(d.clamp_min(0), y.clamp_min(0)) - r


def union(*parts: Tensor) -> Tensor:
    out = parts[0]
    for part in parts[1:]:
        out = torch.minimum(out, part)
    return out


def blend(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Unite shapes with a smooth seam of width k."""
    h = (k - (a - b).abs()).clamp_min(0) / k
    return torch.minimum(a, b) - h * h * (k / 4)


# --- the objects ----------------------------------------------------------------------------


def mug(p: Points) -> Tensor:
    wall = [(0.0, 0.03), (0.5, 0.03), (0.56, 1.2), (0.47, 1.2), (0.43, 0.14), (0.0, 0.14)]
    x, y, z = shift(p, 0.58, 0.62)
    handle = torus(x, y * 0.92, z, 0.33, 0.085)
    handle = torch.maximum(handle, 0.46 - norm2(p[0], p[2]))
    return union(lathe(p, wall), handle)


def teapot(p: Points) -> Tensor:
    body = ellipsoid(shift(p, 0, 0.55), 0.66, 0.54, 0.66)
    lid = union(
        ellipsoid(shift(p, 0, 1.02), 0.34, 0.12, 0.34),
        sphere(shift(p, 0, 1.2), 0.11),
    )
    spout = blend(
        rod(p, (0.5, 0.42, 0), (0.86, 0.72, 0), 0.17, 0.1),
        rod(p, (0.86, 0.72, 0), (1.02, 1.02, 0), 0.1, 0.075),
        0.1,
    )
    x, y, z = shift(p, -0.68, 0.62)
    handle = torch.maximum(torus(x, y, z, 0.32, 0.075), p[0] + 0.5)
    return union(blend(body, spout, 0.12), lid, handle)


def vase(p: Points) -> Tensor:
    side = [
        (0.0, 0.03), (0.32, 0.03), (0.56, 0.42), (0.6, 0.72), (0.46, 1.08), (0.25, 1.32),
        (0.24, 1.44), (0.42, 1.66), (0.34, 1.66), (0.14, 1.4), (0.0, 1.3),
    ]  # fmt: skip
    return lathe(p, side)


def bottle(p: Points) -> Tensor:
    side = [
        (0.0, 0.03), (0.38, 0.03), (0.4, 0.9), (0.34, 1.08), (0.14, 1.24), (0.13, 1.58),
        (0.18, 1.6), (0.18, 1.72), (0.0, 1.72),
    ]  # fmt: skip
    return lathe(p, side)


def chair(p: Points) -> Tensor:
    x = p[0].abs()
    legs = box(shift((x, p[1], p[2].abs()), 0.42, 0.33, 0.4), 0.075, 0.35, 0.075)
    seat = box(shift(p, 0, 0.74), 0.53, 0.075, 0.5)
    posts = box(shift((x, p[1], p[2]), 0.42, 1.2, -0.42), 0.075, 0.5, 0.07)
    rails = union(
        box(shift(p, 0, 1.56, -0.42), 0.42, 0.14, 0.055),
        box(shift(p, 0, 1.15, -0.42), 0.42, 0.1, 0.05),
    )
    return union(legs, seat, posts, rails)


def table(p: Points) -> Tensor:
    q = (p[0].abs(), p[1], p[2].abs())
    legs = box(shift(q, 0.82, 0.44, 0.46), 0.085, 0.46, 0.085)
    return union(legs, box(shift(p, 0, 0.95), 1.0, 0.085, 0.64))


def lamp(p: Points) -> Tensor:
    base = lathe(p, [(0.0, 0.03), (0.42, 0.03), (0.4, 0.1), (0.0, 0.16)])
    pole = lathe(p, [(0.0, 0.0), (0.04, 0.0), (0.04, 1.0), (0.0, 1.0)])
    shade = lathe(p, [(0.0, 0.92), (0.66, 0.92), (0.32, 1.62), (0.0, 1.62)])
    return union(base, pole, shade)


def car(p: Points) -> Tensor:
    x, y, z = p
    body = box(shift(p, 0, 0.46), 1.05, 0.22, 0.46, 0.1)
    cabin = polygon(x, y, [(-0.72, 0.6), (0.52, 0.6), (0.26, 1.02), (-0.5, 1.02)]) - 0.05
    cabin = slab(cabin, z, 0.4, 0.05)
    qx, qy, qz = shift((x.abs(), y, z.abs()), 0.6, 0.25, 0.42)
    wheels = cylinder(qx, qy, qz, 0.25, 0.1)
    return union(body, cabin, wheels)


def house(p: Points) -> Tensor:
    x, y, z = p
    walls = box(shift(p, 0, 0.42), 0.68, 0.42, 0.55, 0.01)
    roof = slab(polygon(x, y, [(-0.9, 0.8), (0.9, 0.8), (0.0, 1.5)]), z, 0.68)
    chimney = box(shift(p, 0.45, 1.25, 0.1), 0.11, 0.35, 0.11, 0.01)
    door = box(shift(p, 0.0, 0.25, 0.55), 0.15, 0.28, 0.06, 0.01)
    windows = box(shift((x.abs(), y, z), 0.42, 0.48, 0.55), 0.12, 0.12, 0.06, 0.01)
    return union(torch.maximum(walls, -torch.minimum(door, windows)), roof, chimney)


def fish(p: Points) -> Tensor:
    p = shift(p, 0.12, 0.72)
    body = ellipsoid(p, 0.78, 0.46, 0.26)
    tail = polygon(p[0], p[1], [(-0.6, 0.0), (-1.16, 0.5), (-1.0, 0.0), (-1.16, -0.5)])
    fin = polygon(p[0], p[1], [(-0.4, 0.3), (0.25, 0.38), (-0.35, 0.72)])
    low = polygon(p[0], p[1], [(-0.3, -0.3), (0.15, -0.38), (-0.3, -0.64)])
    fins = slab(union(tail, fin, low) - 0.04, p[2], 0.07)
    eyes = sphere(shift((p[0], p[1], p[2].abs()), 0.48, 0.12, 0.2), 0.085)
    return union(blend(body, fins, 0.1), eyes)


def rabbit(p: Points) -> Tensor:
    q = (p[0], p[1], p[2].abs())
    body = ellipsoid(shift(p, -0.08, 0.46), 0.56, 0.46, 0.42)
    head = ellipsoid(shift(p, 0.4, 0.96), 0.34, 0.31, 0.29)
    ears = rod(q, (0.32, 1.15, 0.13), (0.16, 1.68, 0.24), 0.09, 0.115)
    feet = ellipsoid(shift(q, 0.36, 0.1, 0.24), 0.24, 0.11, 0.12)
    tail = sphere(shift(p, -0.66, 0.42), 0.17)
    return union(blend(blend(body, head, 0.16), tail, 0.04), ears, feet)


def mushroom(p: Points) -> Tensor:
    stem = lathe(p, [(0.0, 0.03), (0.3, 0.03), (0.2, 0.4), (0.2, 0.9), (0.0, 0.9)])
    cap = torch.maximum(ellipsoid(shift(p, 0, 0.78), 0.86, 0.68, 0.86), 0.76 - p[1])
    return blend(stem, cap - 0.02, 0.08)


def tree(p: Points) -> Tensor:
    trunk = lathe(p, [(0.0, 0.0), (0.14, 0.0), (0.12, 0.4), (0.0, 0.4)])
    crown = [
        (0.0, 0.32), (0.74, 0.32), (0.4, 0.78), (0.58, 0.78), (0.28, 1.22), (0.42, 1.22),
        (0.0, 1.82),
    ]  # fmt: skip
    return union(trunk, lathe(p, crown, 0.02))


def hat(p: Points) -> Tensor:
    side = [(0.0, 0.04), (0.95, 0.06), (0.95, 0.1), (0.5, 0.12), (0.54, 1.08), (0.0, 1.08)]
    return lathe(p, side, 0.04)


def ball(p: Points) -> Tensor:
    return sphere(shift(p, 0, 0.75), 0.75)


def cube(p: Points) -> Tensor:
    return box(shift(p, 0, 0.6), 0.6, 0.6, 0.6, 0.04)


def donut(p: Points) -> Tensor:
    x, y, z = shift(p, 0, 0.8)
    return torus(x, y, z, 0.52, 0.28)


def rocket(p: Points) -> Tensor:
    hull = [
        (0.0, 0.22), (0.24, 0.22), (0.34, 0.6), (0.34, 1.0), (0.24, 1.36), (0.1, 1.66),
        (0.0, 1.8),
    ]  # fmt: skip
    blade = [(0.2, 0.42), (0.26, 0.82), (0.7, 0.3), (0.7, 0.02)]
    fins = torch.full_like(p[0], torch.inf)
    for angle in (90.0, 210.0, 330.0):
        a, b = turn(p[0], p[2], angle)
        fins = torch.minimum(fins, slab(polygon(a, p[1], blade), b, 0.06))
    nozzle = lathe(p, [(0.0, 0.1), (0.2, 0.1), (0.14, 0.3), (0.0, 0.3)], 0.02)
    return union(lathe(p, hull), fins, nozzle)


def snowman(p: Points) -> Tensor:
    balls = blend(
        blend(sphere(shift(p, 0, 0.46), 0.5), sphere(shift(p, 0, 1.08), 0.36), 0.05),
        sphere(shift(p, 0, 1.52), 0.26),
        0.05,
    )
    nose = rod(p, (0, 1.5, 0.22), (0, 1.47, 0.6), 0.07, 0.015)
    q = (p[0].abs(), p[1], p[2])
    arms = rod(q, (0.3, 1.12, 0), (0.85, 1.38, 0.05), 0.05, 0.035)
    buttons = union(*(sphere(shift(p, 0, y, 0.36), 0.06) for y in (1.0, 1.2)))
    return union(balls, nose, arms, buttons)


def boat(p: Points) -> Tensor:
    x, y, z = p
    side = polygon(x, y, [(-0.72, 0.0), (0.62, 0.0), (1.0, 0.42), (-0.88, 0.42)])
    # The hull narrows towards the bow.
    hull = slab(side, z / (1.0 - 0.45 * (x / 1.0).clamp(0, 1).square()), 0.32, 0.03) * 0.8
    mast = rod(p, (0.02, 0.4, 0), (0.02, 1.78, 0), 0.045, 0.04)
    main = polygon(x, y, [(-0.04, 0.56), (-0.78, 0.56), (-0.04, 1.68)])
    jib = polygon(x, y, [(0.1, 0.56), (0.72, 0.56), (0.1, 1.5)])
    return union(hull, mast, slab(union(main, jib), z, 0.04))


SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        mug, teapot, vase, bottle, chair, table, lamp, car, house, fish, rabbit, mushroom, tree,
        hat, ball, cube, donut, rocket, snowman, boat,
    )
}  # fmt: skip
