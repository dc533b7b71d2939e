"""The materials: colour and finish at a point of a solid.

A material is cut from an endless block: its colour depends on the point (N, 3) in the object's
own space and on the surface normal there (which side of a box pattern faces out), and an object
shows another part of the block for another `phase`. Colours are linear light in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pops.pocket.world.shading.noise import cells, fbm, value_noise

__all__ = ["MATERIAL_TABLE", "Material"]

Colour = Callable[[Tensor, Tensor], Tensor]  # points (N, 3), normals (N, 3) -> (N, 3)


@dataclass(frozen=True)
class Material:
    """A material: the colour of a surface, and how it answers light.

    gloss: strength of the highlight; metal: share of mirror reflection; glow: own light.
    """

    colour: Colour
    gloss: float = 0.12
    metal: float = 0.0
    glow: float = 0.0


def rgb(*channels: int) -> Tensor:
    """Convert an sRGB colour in 0..255 to linear light."""
    return (torch.tensor(channels, dtype=torch.float32) / 255.0) ** 2.2


def mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Mix colours (3,) or (N, 3) by a share (N,)."""
    return torch.lerp(a.expand(len(share), 3), b.expand(len(share), 3), share[:, None])


def step(edge: float, width: float, x: Tensor) -> Tensor:
    """Step from 0 below the edge to 1 above it, smoothly over the width."""
    t = ((x - edge) / width + 0.5).clamp(0, 1)
    return t * t * (3 - 2 * t)


def face(p: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Map to a box: the two coordinates of the side that the normal faces, right way up."""
    side = n.abs().argmax(1)
    u = torch.where(side == 0, p[:, 2], p[:, 0])
    v = torch.where(side == 1, p[:, 2], p[:, 1])
    return u, v


def plain(*channels: int) -> Colour:
    colour = rgb(*channels)
    return lambda p, n: colour.to(p).expand(len(p), 3)


def wood(p: Tensor, n: Tensor) -> Tensor:
    bend = p + 0.25 * (fbm(p * torch.tensor([1.6, 0.5, 1.6]).to(p), 2) - 0.5)[:, None]
    ring = torch.sqrt((bend[:, 0] + 0.35).square() + (bend[:, 2] * 0.9 + 0.6).square())
    wave = 0.5 + 0.5 * torch.sin(ring * 24.0 + 2.0 * value_noise(p * 1.5))
    grain = value_noise(p * torch.tensor([22.0, 1.5, 22.0]).to(p))
    return mix(rgb(198, 134, 72), rgb(112, 62, 24), (0.75 * wave + 0.35 * grain).clamp(0, 1))


def brick(p: Tensor, n: Tensor) -> Tensor:
    u, v = face(p, n)
    row = torch.floor(v * 5.2)
    u = u * 2.6 + 0.5 * (row % 2)
    fu, fv = u - torch.floor(u), v * 5.2 - row
    mortar = torch.maximum((fu - 0.5).abs() / 0.46, (fv - 0.5).abs() / 0.42)
    key = torch.stack([torch.floor(u) * 3.1, row * 5.7, torch.zeros_like(u)], 1)
    tone = value_noise(key + 0.5)
    clay = mix(rgb(178, 62, 40), rgb(138, 40, 30), tone)
    return mix(clay, rgb(214, 204, 192), step(1.0, 0.1, mortar))


def marble(p: Tensor, n: Tensor) -> Tensor:
    warp = p * 2.0 + 1.6 * torch.stack([fbm(p * 1.3 + s, 3) for s in (0.0, 9.0, 17.0)], 1)
    vein = (fbm(warp * 1.6, 2) - 0.5).abs()
    thin = torch.exp(-vein * 24.0)
    cloud = fbm(p * 2.0, 2)
    return mix(mix(rgb(250, 248, 244), rgb(214, 214, 220), cloud), rgb(84, 86, 100), thin)


def hammered(*channels: int) -> Colour:
    colour = rgb(*channels)
    return lambda p, n: colour.to(p) * (0.82 + 0.3 * value_noise(p * 5.0))[:, None]


def zebra(p: Tensor, n: Tensor) -> Tensor:
    warp = p[:, 1] * 1.1 + 0.35 * p[:, 0] + 0.75 * fbm(p * 1.3, 2)
    return mix(rgb(246, 244, 240), rgb(16, 14, 16), step(0.0, 0.35, torch.sin(warp * 15.0)))


def leopard(p: Tensor, n: Tensor) -> Tensor:
    near, _, name = cells(p * 4.2)
    near = near + 0.10 * (value_noise(p * 11.0) - 0.5)
    ring = step(0.17, 0.06, near) * (1 - step(0.42, 0.06, near))
    inside = mix(rgb(226, 164, 72), rgb(150, 88, 28), 1 - step(0.17, 0.08, near))
    return mix(inside, rgb(34, 20, 12), ring * step(0.1, 0.02, name))


def checker(p: Tensor, n: Tensor) -> Tensor:
    u, v = face(p, n)
    odd = torch.sin(u * 9.4) * torch.sin(v * 9.4)
    return mix(rgb(20, 20, 22), rgb(244, 244, 244), step(0.0, 0.12, odd))


def stripes(p: Tensor, n: Tensor) -> Tensor:
    band = torch.sin(p[:, 1] * 14.0)
    return mix(rgb(248, 246, 242), rgb(214, 24, 36), step(0.0, 0.3, band))


def dots(p: Tensor, n: Tensor) -> Tensor:
    u, v = face(p, n)
    row = torch.floor(v * 3.6)
    fu = u * 3.6 + 0.5 * (row % 2)
    d = torch.sqrt((fu - torch.floor(fu) - 0.5).square() + (v * 3.6 - row - 0.5).square())
    return mix(rgb(28, 70, 190), rgb(250, 250, 250), step(0.32, 0.08, d))


def knit(p: Tensor, n: Tensor) -> Tensor:
    u, v = face(p, n)
    u, v = u * 5.0, v * 7.0
    lean = (u - torch.floor(u) - 0.5).abs()
    stitch = v + 1.1 * lean
    f = stitch - torch.floor(stitch)
    depth = torch.sin(f * torch.pi) * (0.35 + 0.65 * torch.sin(lean * 2 * torch.pi).clamp_min(0))
    row = (torch.floor(stitch) % 4) < 2
    yarn = torch.where(row[:, None], rgb(240, 226, 196).to(p), rgb(52, 140, 140).to(p))
    return yarn * (0.35 + 0.75 * depth)[:, None]


def lava(p: Tensor, n: Tensor) -> Tensor:
    near, second, _ = cells(p * 2.6 + 0.5 * (fbm(p * 3.0, 2) - 0.5)[:, None])
    crack = torch.exp(-(second - near) * 8.0)
    hot = mix(rgb(255, 70, 6), rgb(255, 214, 70), step(0.75, 0.4, crack))
    return mix(rgb(36, 22, 22), hot, step(0.35, 0.3, crack))


def grass(p: Tensor, n: Tensor) -> Tensor:
    blade = value_noise(p * torch.tensor([20.0, 7.0, 20.0]).to(p))
    patch = value_noise(p * 3.5)
    green = mix(rgb(24, 88, 16), rgb(136, 196, 54), (0.8 * blade + 0.35 * patch - 0.1).clamp(0, 1))
    near, _, name = cells(p * 3.2)
    flower = (1 - step(0.13, 0.04, near)) * step(0.5, 0.02, name)
    return mix(green, rgb(255, 250, 210), flower)


def ice(p: Tensor, n: Tensor) -> Tensor:
    near, second, name = cells(p * 2.0)
    crack = torch.exp(-(second - near) * 16.0)
    body = mix(rgb(128, 206, 242), rgb(186, 232, 250), name)
    return mix(body, rgb(250, 254, 255), crack)


def rainbow(p: Tensor, n: Tensor) -> Tensor:
    hue = p[:, 1] * 0.8 + 0.15 * p[:, 0]
    waves = [0.5 + 0.5 * torch.cos(2 * torch.pi * (hue - s)) for s in (0.0, 1 / 3, 2 / 3)]
    return torch.stack(waves, 1).square() * 0.95 + 0.01


MATERIAL_TABLE: dict[str, Material] = {
    "wood": Material(wood),
    "brick": Material(brick, gloss=0.0),
    "marble": Material(marble, gloss=0.35),
    "gold": Material(hammered(255, 190, 50), gloss=1.0, metal=0.6),
    "silver": Material(hammered(206, 210, 220), gloss=1.0, metal=0.75),
    "zebra": Material(zebra),
    "leopard": Material(leopard),
    "checker": Material(checker, gloss=0.2),
    "stripes": Material(stripes, gloss=0.15),
    "dots": Material(dots, gloss=0.15),
    "knit": Material(knit, gloss=0.0),
    "lava": Material(lava, gloss=0.0, glow=0.8),
    "grass": Material(grass, gloss=0.0),
    "ice": Material(ice, gloss=0.8, metal=0.12),
    "rainbow": Material(rainbow, gloss=0.15),
    "red": Material(plain(208, 24, 28), gloss=0.3),
    "blue": Material(plain(26, 72, 214), gloss=0.3),
    "green": Material(plain(20, 150, 60), gloss=0.3),
    "purple": Material(plain(120, 40, 170), gloss=0.3),
    "pink": Material(plain(250, 130, 180), gloss=0.3),
    # What a mannequin is made of; not a material that is asked for by name.
    "clay": Material(plain(214, 186, 164), gloss=0.05),
}
