"""Scenes to pictures: sphere tracing of the shapes, then shading, in batches.

Tracing is the costly part and knows no material, so scenes that share geometry (things, places,
view) are traced once and shaded many times. Every scene renders the same alone and in any batch.
Method: sphere tracing with soft shadows and ambient occlusion from the distance field (Hart
1996; Quilez, "soft shadows in raymarched SDFs").
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.world.backgrounds import BACKGROUND_TABLE
from pops.pocket.world.garments import GARMENT_SHAPES
from pops.pocket.world.materials import MATERIAL_TABLE, Material, mix, rgb, step
from pops.pocket.world.noise import fbm
from pops.pocket.world.scene import Item, Scene, Swatch, View
from pops.pocket.world.shapes import SHAPES, Shape

__all__ = ["Rendering", "render", "render_swatches"]

_SUPERSAMPLE = 2
_HALF_FRAME = math.tan(math.radians(20.0))  # half the picture's width at distance 1
_RAYS_AT_ONCE = 300_000
_ALL_SHAPES: dict[str, Shape] = SHAPES | GARMENT_SHAPES


@dataclass(frozen=True)
class Rendering:
    """Pictures and what is where in them.

    pictures: (N, H, W, 3) uint8. things: (N, H, W) uint8, 0 for the background and i + 1 where
    item i of the scene is seen.
    """

    pictures: Tensor
    things: Tensor

    def mask(self, scene: int, item: int) -> Tensor:
        """(H, W) bool: where the item is seen."""
        return self.things[scene] == item + 1

    def box(self, scene: int, item: int) -> tuple[int, int, int, int] | None:
        """(x1, y1, x2, y2) round the item, x2 and y2 exclusive; None when it is hidden."""
        seen = self.mask(scene, item)
        if not seen.any():
            return None
        ys, xs = torch.nonzero(seen, as_tuple=True)
        return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@dataclass(frozen=True)
class _Surface:
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


def _rays(view: View, side: int) -> tuple[Tensor, Tensor]:
    """The camera's place (3,) and a unit direction per pixel (side * side, 3)."""
    e = math.radians(view.elevation)
    back = torch.tensor([0.0, math.sin(e), math.cos(e)])
    up = torch.tensor([0.0, math.cos(e), -math.sin(e)])
    right = torch.tensor([1.0, 0.0, 0.0])
    origin = torch.tensor([view.look_x, view.look_y, 0.0]) + view.distance * back
    s = ((torch.arange(side) + 0.5) / side * 2 - 1) * _HALF_FRAME
    d = -back + s[None, :, None] * right - s[:, None, None] * up
    return origin, F.normalize(d.reshape(-1, 3), dim=1)


def _light(view: View) -> Tensor:
    """The unit direction towards the light."""
    a, e = math.radians(view.light_azimuth), math.radians(view.light_elevation)
    return torch.tensor(
        [math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)], dtype=torch.float32
    )


def _rotation(yaw: float) -> Tensor:
    """World from item space."""
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


@lru_cache
def _bounds(shape: Shape) -> tuple[Tensor, Tensor]:
    """The low and high corner (3,) of a box that holds the shape."""
    cell = 0.06
    axis = torch.arange(-1.5, 1.5, cell)
    grid = torch.cartesian_prod(axis, torch.arange(-0.1, 2.3, cell), axis)
    near = grid[shape(_columns(grid)) < cell]
    return near.amin(0) - cell, near.amax(0) + cell


def _hit_box(low: Tensor, high: Tensor, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Entry and exit distance (R,) of rays through a box; exit < entry where they miss it."""
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
    """Distance along each ray to the surface, inf where it misses; all (R,).

    With a cone (radius per distance), stops where the cone round the ray first may touch.
    """
    found = torch.full_like(near, torch.inf)
    alive = torch.arange(len(near))
    t, last, oo, dd = near.clone(), far, _columns(o), _columns(d)
    for _ in range(15):
        for _ in range(4):
            gap = shape((oo[0] + t * dd[0], oo[1] + t * dd[1], oo[2] + t * dd[2])) - cone * t
            t = t + gap.clamp(0.0, 0.4)
        hit = gap < 0.002
        found[alive[hit]] = t[hit]
        go = ~hit & (t < last)
        alive, t, last = alive[go], t[go], last[go]
        oo = (oo[0][go], oo[1][go], oo[2][go])
        dd = (dd[0][go], dd[1][go], dd[2][go])
        if not len(alive):
            break
    return found


def _empty_space(shape: Shape, o: Tensor, d: Tensor, side: int) -> Tensor:
    """How far the rays (K * side * side, 3) are surely free, inf where they miss: (R,).

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
    """Gradient of the distance by the four corners of a tetrahedron."""
    total = torch.zeros_like(p)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        k = torch.tensor(corner, dtype=torch.float32)
        total += k * shape(_columns(p + 0.004 * k))[:, None]
    return F.normalize(total, dim=1)


def _soft_shadow(shape: Shape, p: Tensor, light: Tensor) -> Tensor:
    """1 where a ray towards the light is free, less where it passes close to the shape."""
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
class _Placed:
    """An item without its material, in a view: the key of what must be traced."""

    item: Item
    view: View


def _key(item: Item, view: View) -> _Placed:
    return _Placed(replace(item, material="", phase=0.0), view)


def _trace(shape: Shape, placed: Sequence[_Placed], side: int) -> list[_Surface]:
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
            _Surface(
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


def _to_item_space(placed: _Placed, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rays (R, 3) x 2 in the item's space, its rotation, and the light's direction there."""
    origin, direction = _rays(placed.view, side)
    item, turn = placed.item, _rotation(placed.item.yaw)
    local = (origin - torch.tensor([item.x, 0.0, item.z])) @ turn / item.size
    return local.expand(len(direction), 3), direction @ turn, turn, _light(placed.view) @ turn


def _ground_shadow(
    shape: Shape,
    pieces: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    lights: Tensor,
    side: int,
) -> Tensor:
    """How much light each ground point keeps, (K, side * side); soft, so found at half size."""
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


def _trace_all(keys: Iterable[_Placed], side: int) -> dict[_Placed, _Surface]:
    by_shape: dict[str, list[_Placed]] = {}
    for key in dict.fromkeys(keys):
        by_shape.setdefault(key.item.shape, []).append(key)
    at_once = max(1, _RAYS_AT_ONCE // (side * side))
    traced: dict[_Placed, _Surface] = {}
    for name, placed in by_shape.items():
        for i in range(0, len(placed), at_once):
            chunk = placed[i : i + at_once]
            traced.update(zip(chunk, _trace(_ALL_SHAPES[name], chunk, side), strict=True))
    return traced


# --- shading --------------------------------------------------------------------------------


def _offset(phase: float) -> Tensor:
    return torch.tensor([phase, 0.37 * phase, 0.71 * phase])


def _frozen(material: Material, point: Tensor, albedo: Tensor, up: Tensor) -> Tensor:
    frost = (0.3 + 0.5 * fbm(point * 4.0, 2)).clamp(0, 1)
    iced = mix(albedo, rgb(176, 222, 246), frost)
    return mix(iced, rgb(252, 254, 255), step(0.45, 0.3, up + 0.3 * (frost - 0.7)))


def _flames(point: Tensor) -> tuple[Tensor, Tensor]:
    """How much a point burns (N,) and the colour of the fire there (N, 3)."""
    heat = fbm(point * torch.tensor([3.2, 1.7, 3.2]), 3)
    return step(0.46, 0.2, heat), mix(rgb(255, 60, 4), rgb(255, 226, 90), step(0.58, 0.2, heat))


def _shade(surface: _Surface, item: Item, scene: Scene, direction: Tensor) -> Tensor:
    """Linear colour (M, 3) of an item's hits."""
    material = MATERIAL_TABLE[item.material]
    place = BACKGROUND_TABLE[scene.background]
    gloss, metal, glow = material.gloss, material.metal, material.glow
    cut = surface.point + _offset(item.phase)
    albedo = material.colour(cut, surface.normal)
    up = surface.facing[:, 1]
    if scene.adjective == "shiny":
        gloss, metal = 1.3, max(metal, 0.4)
    if scene.adjective == "frozen":
        albedo, gloss, glow = _frozen(material, cut, albedo, up), 0.8, 0.0
    light, key, ambient = _light(scene.view), torch.tensor(place.key), torch.tensor(place.ambient)
    direct = ((surface.facing @ light).clamp_min(0) * surface.lit)[:, None] * key
    sky = (0.62 + 0.38 * up)[:, None] * ambient * surface.open[:, None]
    colour = albedo * (direct + sky)
    toward = direction[surface.pixel]
    mirror = toward - 2 * (toward * surface.facing).sum(1, keepdim=True) * surface.facing
    if metal:
        # A bright sky over a dark horizon over a paler ground: what makes metal look like metal.
        height = mirror[:, 1]
        bright = 0.08 + 1.5 * step(0.35, 0.6, height) + 0.5 * (1 - step(-0.35, 0.3, height))
        room = bright[:, None] * (0.55 * key + ambient) * surface.open[:, None]
        tint = albedo if material.metal else albedo.lerp(torch.ones(3), 0.12)
        colour = colour.lerp(tint * room, metal)
    shine = (mirror @ light).clamp_min(0)
    spot = 0.9 * shine**60 + 0.25 * shine**12
    colour = colour + (gloss * surface.lit * spot)[:, None] * key
    if glow:
        colour = colour + glow * albedo * (albedo[:, :1] > 0.25)
    if scene.adjective == "burning":
        share, fire = _flames(cut)
        colour = mix(colour * 0.35, fire, share)
    return colour


def _backdrop(scene: Scene, origin: Tensor, d: Tensor, shadow: Tensor) -> Tensor:
    """Linear colour (H * W, 3) of ground and sky."""
    place = BACKGROUND_TABLE[scene.background]
    out = torch.empty_like(d)
    horizon = d[:, 1] > -0.035
    sky, ground = torch.nonzero(horizon)[:, 0], torch.nonzero(~horizon)[:, 0]
    out[sky] = place.sky(d[sky], scene.phase)
    ray = d[ground]
    spot = origin - ray * (origin[1] / ray[:, 1:2])
    spot[:, 1] = 0.0
    # Far ground is many features to a pixel: fade it into its own mean to avoid shimmer.
    colour = place.ground(spot, scene.phase)
    dim = 1 - place.shadow * (1 - shadow[ground])
    level = _light(scene.view)[1] * torch.tensor(place.key) + torch.tensor(place.ambient)
    out[ground] = colour * dim[:, None] * (level / level.max())
    return out


def _aura(colour: Tensor, thing: Tensor, side: int, phase: float) -> Tensor:
    """Flames that rise round what burns."""
    mask = (thing > 0).float().reshape(1, 1, side, side)
    reach = max(side // 10, 1)
    wide = F.max_pool2d(F.pad(mask, (reach // 2,) * 2 + (0, 2 * reach)), (2 * reach + 1, 1), 1)
    wide = F.avg_pool2d(wide[..., :side, :], reach | 1, 1, reach // 2)[..., :side, :side]
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    p = torch.stack([u * 9.0 / side, v * 5.0 / side + phase, torch.zeros_like(u * 1.0)], -1)
    heat = wide.reshape(-1) * (0.35 + fbm(p.reshape(-1, 3), 2)) * (thing == 0)
    fire = mix(rgb(255, 70, 6), rgb(255, 220, 90), step(0.75, 0.3, heat))
    return mix(colour, fire, step(0.5, 0.25, heat))


def _compose(scene: Scene, surfaces: Sequence[_Surface], side: int) -> tuple[Tensor, Tensor]:
    """Linear picture (side * side, 3) and item index (side * side,) at full sampling."""
    origin, direction = _rays(scene.view, side)
    shadow = torch.ones(side * side)
    for surface in surfaces:
        shadow = torch.minimum(shadow, surface.shadow)
    colour = _backdrop(scene, origin, direction, shadow)
    depth = torch.full((side * side,), torch.inf)
    thing = torch.zeros(side * side, dtype=torch.uint8)
    for i, (item, surface) in enumerate(zip(scene.items, surfaces, strict=True)):
        front = surface.depth < depth[surface.pixel]
        where = surface.pixel[front]
        colour[where] = _shade(surface, item, scene, direction)[front]
        depth[where] = surface.depth[front]
        thing[where] = i + 1
    if scene.adjective == "burning":
        colour = _aura(colour, thing, side, scene.phase)
    if scene.adjective == "dark":
        colour = colour * 0.1
    return colour, thing


def _develop(colour: Tensor, side: int) -> Tensor:
    """Average the samples and encode as sRGB: (side * side, 3) -> (side / 2, side / 2, 3)."""
    square = colour.clamp(0, 1).reshape(1, side, side, 3).permute(0, 3, 1, 2)
    mean = F.avg_pool2d(square, _SUPERSAMPLE)[0].permute(1, 2, 0)
    return (mean ** (1 / 2.2) * 255 + 0.5).to(torch.uint8)


def _seen(thing: Tensor, side: int, items: int) -> Tensor:
    """Which item holds most of a pixel, the background included."""
    shares = torch.stack([(thing == i).float() for i in range(items + 1)])
    return F.avg_pool2d(shares.reshape(1, -1, side, side), _SUPERSAMPLE)[0].argmax(0).byte()


@torch.no_grad()
def render(scenes: Sequence[Scene], size: int = 64) -> Rendering:
    """Render scenes as (N, size, size, 3) pictures with the exact place of every item."""
    side = size * _SUPERSAMPLE
    traced = _trace_all((_key(i, s.view) for s in scenes for i in s.items), side)
    pictures, things = [], []
    for scene in scenes:
        surfaces = [traced[_key(item, scene.view)] for item in scene.items]
        colour, thing = _compose(scene, surfaces, side)
        pictures.append(_develop(colour, side))
        things.append(_seen(thing, side, len(scene.items)))
    return Rendering(torch.stack(pictures), torch.stack(things))


@torch.no_grad()
def render_swatches(swatches: Sequence[Swatch], size: int = 64) -> Tensor:
    """Flat samples of materials, (N, size, size, 3) uint8."""
    side = size * _SUPERSAMPLE
    s = (torch.arange(side) + 0.5) / side - 0.5
    v, u = torch.meshgrid(-s, s, indexing="ij")
    flat = torch.stack([u, v, torch.zeros_like(u)], -1).reshape(-1, 3)
    normal = torch.tensor([0.0, 0.0, 1.0]).expand(side * side, 3)
    pictures = []
    for swatch in swatches:
        material = MATERIAL_TABLE[swatch.material]
        colour = material.colour(flat * swatch.scale + _offset(swatch.phase), normal)
        # A soft fall-off of the light, stronger on metal.
        slope = (flat[:, 0] * 0.5 + flat[:, 1])[:, None]
        light = swatch.light * (0.95 + (0.15 + 0.5 * material.metal) * slope)
        glow = material.glow * colour * (colour[:, :1] > 0.25)
        pictures.append(_develop(colour * light + glow, side))
    return torch.stack(pictures)
