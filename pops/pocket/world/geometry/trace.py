"""Where the rays of a picture meet the shapes in it: sphere tracing, in batches.

Tracing is the costly part of a picture and knows no material, so what is traced once can be shaded
many times. Method: sphere tracing with cones first, soft shadows and ambient occlusion from the
distance field (Hart 1996; Quilez, "soft shadows in raymarched SDFs").
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.world.geometry.garments import GARMENT_SHAPES
from pops.pocket.world.geometry.shapes import SHAPES, Shape
from pops.pocket.world.scene import Item, View

__all__ = ["Placed", "Surface", "light_direction", "placing", "rays", "trace_all"]

_HALF_FRAME = math.tan(math.radians(20.0))  # half the picture's width at distance 1
_RAYS_AT_ONCE = 300_000
_ROUNDS = 30  # of four steps each, before a ray is given up
_NEAR = 0.02  # from the surface: rays that are so near it after all steps have met it
_ALL_SHAPES: dict[str, Shape] = SHAPES | GARMENT_SHAPES


@dataclass(frozen=True)
class Surface:
    """Where one item is hit by the rays of its picture: M hits of H * W rays."""

    pixel: Tensor  # (M,) index into the picture
    depth: Tensor  # (M,)
    point: Tensor  # (M, 3) in the item's own space
    normal: Tensor  # (M, 3) likewise
    facing: Tensor  # (M, 3) the normal in the world
    lit: Tensor  # (M,) 1 where the light reaches it
    open: Tensor  # (M,) 1 where nothing is near (ambient occlusion)
    shadow: Tensor  # (H * W,) 1 where the item lets light reach the ground


# --- rays -----------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def rays(view: View, side: int) -> tuple[Tensor, Tensor]:
    """Find the rays of a picture.

    Args:
        view: the camera.
        side: rays along a side.

    Returns:
        The place of the camera (3,), and the unit direction of every ray (side * side, 3).
    """
    e = math.radians(view.elevation)
    back = torch.tensor([0.0, math.sin(e), math.cos(e)])
    up = torch.tensor([0.0, math.cos(e), -math.sin(e)])
    right = torch.tensor([1.0, 0.0, 0.0])
    origin = torch.tensor([view.look_x, view.look_y, 0.0]) + view.distance * back
    s = ((torch.arange(side) + 0.5) / side * 2 - 1) * _HALF_FRAME
    d = -back + s[None, :, None] * right - s[:, None, None] * up
    return origin, F.normalize(d.reshape(-1, 3), dim=1)


def light_direction(view: View) -> Tensor:
    """Find the direction towards the light.

    Args:
        view: the view, which has the angles of the light.

    Returns:
        A unit direction (3,).
    """
    a, e = math.radians(view.light_azimuth), math.radians(view.light_elevation)
    return torch.tensor(
        [math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)], dtype=torch.float32
    )


def _rotation(yaw: float) -> Tensor:
    """Compute the rotation from item space to the world."""
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


@lru_cache
def _bounds(shape: Shape) -> tuple[Tensor, Tensor]:
    """Compute the low and high corner (3,) of a box that holds the shape."""
    cell = 0.06
    axis = torch.arange(-1.5, 1.5, cell)
    grid = torch.cartesian_prod(axis, torch.arange(-0.1, 2.3, cell), axis)
    near = grid[shape(_columns(grid)) < cell]
    return near.amin(0) - cell, near.amax(0) + cell


def _hit_box(low: Tensor, high: Tensor, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Find where rays enter and leave a box (R,); exit < entry where they miss it."""
    safe = torch.where(d.abs() < 1e-6, torch.full_like(d, 1e-6), d)
    a, b = (low - o) / safe, (high - o) / safe
    entry = torch.minimum(a, b).amax(1).clamp_min(0)
    return entry, torch.maximum(a, b).amin(1)


def _columns(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, y, z = p.T.contiguous()
    return x, y, z


def _march(
    shape: Shape, o: Tensor, d: Tensor, near: Tensor, far: Tensor, cone: float = 0.0
) -> Tensor:
    """Find the distance along each ray to the surface, inf where it misses; all (R,).

    With a cone (radius per distance), stops where the cone round the ray first may touch.
    """
    found = torch.full_like(near, torch.inf)
    alive = torch.arange(len(near))
    t, last, oo, dd = near.clone(), far, _columns(o), _columns(d)
    for _ in range(_ROUNDS):
        for _ in range(4):
            gap = shape((oo[0] + t * dd[0], oo[1] + t * dd[1], oo[2] + t * dd[2])) - cone * t
            t = t + gap.clamp(0.0, 0.4)
        hit = gap < 0.002
        found[alive[hit]] = t[hit]
        go = ~hit & (t < last)
        alive, t, last, gap = alive[go], t[go], last[go], gap[go]
        oo = (oo[0][go], oo[1][go], oo[2][go])
        dd = (dd[0][go], dd[1][go], dd[2][go])
        if not len(alive):
            return found
    # A ray that grazes a rim is still near it after all steps, and not through it. A cone has only
    # come so far: what lies behind is not known to be free.
    near_it = gap < (torch.inf if cone else _NEAR)
    found[alive[near_it]] = t[near_it]
    return found


def _empty_space(shape: Shape, o: Tensor, d: Tensor, side: int) -> Tensor:
    """Compute how far the rays (K * side * side, 3) are surely free, inf where they miss: (R,).

    One cone for each block of 4 x 4 rays finds most of the empty space (cone marching).
    """
    block = (-1, side // 4, 4, side // 4, 4, 3)
    middle = F.normalize(d.reshape(block).mean((2, 4)).reshape(-1, 3), dim=1)
    start = o.reshape(block)[:, :, 0, :, 0].reshape(-1, 3)
    radius = 3.0 * _HALF_FRAME / side * math.sqrt(2.0)
    low, high = _bounds(shape)
    grown = radius * 4.5 / 0.4  # the box seen from its farthest, in the smallest item's units
    near, far = _hit_box(low - grown, high + grown, start, middle)
    t = torch.full_like(near, torch.inf)
    at = torch.nonzero(far > near)[:, 0]
    t[at] = _march(shape, start[at], middle[at], near[at], far[at], 1.35 * radius)
    t = t.reshape(-1, side // 4, 1, side // 4, 1)
    return t.expand(-1, -1, 4, -1, 4).reshape(-1)


def _normals(shape: Shape, p: Tensor) -> Tensor:
    """Compute the gradient of the distance by the four corners of a tetrahedron."""
    total = torch.zeros_like(p)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        k = torch.tensor(corner, dtype=torch.float32)
        total += k * shape(_columns(p + 0.004 * k))[:, None]
    return F.normalize(total, dim=1)


def _soft_shadow(shape: Shape, p: Tensor, light: Tensor) -> Tensor:
    """Compute the light of rays: 1 where one is free, less where it passes close to the shape."""
    lit = torch.ones(len(p))
    near, far = _hit_box(*_bounds(shape), p, light)
    at = torch.nonzero(far > near)[:, 0]
    if not len(at):
        return lit
    o, d, t = _columns(p[at]), _columns(light[at]), near[at].clamp_min(0.03)
    free = torch.ones(len(at))
    for _ in range(16):
        gap = shape((o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]))
        free = torch.minimum(free, (9.0 * gap / t + 0.1).clamp_min(0))
        t = t + gap.clamp(0.03, 0.25)
    lit[at] = free
    return lit


# --- tracing --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """An item without its material, in a view: the key of what must be traced."""

    item: Item
    view: View


def placing(item: Item, view: View) -> Placed:
    """Name the geometry of an item: all that tracing needs, without the material.

    Args:
        item: the item.
        view: the camera and the light.

    Returns:
        A key, equal for items that differ in nothing but their material.
    """
    return Placed(replace(item, material="", phase=0.0), view)


def _trace(shape: Shape, placed: Sequence[Placed], side: int) -> list[Surface]:
    """Trace several placings of one shape together."""
    pieces = [_to_item_space(p, side) for p in placed]
    o = torch.cat([p[0] for p in pieces])
    d = torch.cat([p[1] for p in pieces])
    near, far = _hit_box(*_bounds(shape), o, d)
    near = torch.maximum(near, _empty_space(shape, o, d, side))
    inside = torch.nonzero(far > near)[:, 0]
    o, d = o[inside], d[inside]
    t = _march(shape, o, d, near[inside], far[inside])
    seen = torch.isfinite(t)
    index, t = inside[seen], t[seen]
    point = o[seen] + t[:, None] * d[seen]
    normal = _normals(shape, point)
    owner = index // (side * side)
    lights = torch.stack([p[3] for p in pieces])
    light = lights[owner]
    start = point + 0.01 * normal
    lit = _soft_shadow(shape, start, light) * ((normal * light).sum(1) > 0)
    near_open = shape(_columns(point + 0.08 * normal)) / 0.08
    far_open = shape(_columns(point + 0.25 * normal)) / 0.25
    above = (0.35 + point[:, 1] / 0.3).clamp(0, 1)
    clear = (0.25 + 0.4 * near_open + 0.35 * far_open).clamp(0, 1) * above
    shadows = _ground_shadow(shape, pieces, lights, side)
    surfaces = []
    for k, (place, piece) in enumerate(zip(placed, pieces, strict=True)):
        mine = owner == k
        surfaces.append(
            Surface(
                pixel=index[mine] - k * side * side,
                depth=t[mine] * place.item.size,
                point=point[mine],
                normal=normal[mine],
                facing=normal[mine] @ piece[2].T,
                lit=lit[mine],
                open=clear[mine],
                shadow=shadows[k],
            )
        )
    return surfaces


def _to_item_space(placed: Placed, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give rays (R, 3) x 2 in the item's space, its rotation, and the light's direction there."""
    origin, direction = rays(placed.view, side)
    item, turn = placed.item, _rotation(placed.item.yaw)
    local = (origin - torch.tensor([item.x, 0.0, item.z])) @ turn / item.size
    light = light_direction(placed.view) @ turn
    return local.expand(len(direction), 3), direction @ turn, turn, light


def _ground_shadow(
    shape: Shape,
    pieces: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    lights: Tensor,
    side: int,
) -> Tensor:
    """Compute the light that each ground point keeps, (K, side * side), at half size."""
    half = side // 2
    o = torch.cat([p[0].reshape(side, side, 3)[::2, ::2].reshape(-1, 3) for p in pieces])
    d = torch.cat([p[1].reshape(half, 2, half, 2, 3).mean((1, 3)).reshape(-1, 3) for p in pieces])
    down = torch.nonzero(d[:, 1] < -1e-4)[:, 0]
    spot = o[down] - d[down] * (o[down, 1:2] / d[down, 1:2])
    close = spot.square().sum(1) < 9.0
    down, spot = down[close], spot[close]
    spot[:, 1] = 0.0
    lit = _soft_shadow(shape, spot, lights[down // (half * half)])
    touch = shape(_columns(spot + torch.tensor([0.0, 0.06, 0.0])))
    lit *= (0.45 + 2.2 * touch.clamp_min(0)).clamp_max(1)
    out = torch.ones(len(pieces) * half * half)
    out[down] = lit
    small = out.reshape(-1, 1, half, half)
    return F.interpolate(small, scale_factor=2.0, mode="bilinear").reshape(-1, side * side)


def trace_all(keys: Iterable[Placed], side: int) -> dict[Placed, Surface]:
    """Trace items, those of one shape together.

    Args:
        keys: items in their views; equal ones are traced once.
        side: rays along a side of a picture.

    Returns:
        The surface of each key.
    """
    by_shape: dict[str, list[Placed]] = {}
    for key in dict.fromkeys(keys):
        by_shape.setdefault(key.item.shape, []).append(key)
    at_once = max(1, _RAYS_AT_ONCE // (side * side))
    traced: dict[Placed, Surface] = {}
    for name, placed in by_shape.items():
        for i in range(0, len(placed), at_once):
            chunk = placed[i : i + at_once]
            traced.update(zip(chunk, _trace(_ALL_SHAPES[name], chunk, side), strict=True))
    return traced
