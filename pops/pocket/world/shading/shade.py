"""The look of the surfaces and backgrounds of a scene: materials under light.

All colours are linear light, (M, 3) for the M points that are asked about.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.world.geometry.trace import Surface, light_direction, rays
from pops.pocket.world.scene import Item, Scene, View
from pops.pocket.world.shading.backgrounds import BACKGROUND_TABLE
from pops.pocket.world.shading.materials import MATERIAL_TABLE, Material, mix, rgb, step
from pops.pocket.world.shading.noise import fbm

__all__ = ["block_offset", "compose"]


def block_offset(phase: float) -> Tensor:
    """Find where in a material's endless block a cut begins.

    Args:
        phase: which part of the block is shown.

    Returns:
        A point (3,) of the block.
    """
    return torch.tensor([phase, 0.37 * phase, 0.71 * phase])


def _frozen(material: Material, point: Tensor, albedo: Tensor, up: Tensor) -> Tensor:
    frost = (0.3 + 0.5 * fbm(point * 4.0, 2)).clamp(0, 1)
    iced = mix(albedo, rgb(176, 222, 246), frost)
    return mix(iced, rgb(252, 254, 255), step(0.45, 0.3, up + 0.3 * (frost - 0.7)))


def _flames(point: Tensor) -> tuple[Tensor, Tensor]:
    """Compute how much a point burns (N,) and the colour of the fire there (N, 3)."""
    heat = fbm(point * torch.tensor([3.2, 1.7, 3.2]), 3)
    return step(0.46, 0.2, heat), mix(rgb(255, 60, 4), rgb(255, 226, 90), step(0.58, 0.2, heat))


def _shade(surface: Surface, item: Item, scene: Scene, direction: Tensor) -> Tensor:
    """Compute the linear colour (M, 3) of an item's hits."""
    material = MATERIAL_TABLE[item.material]
    place = BACKGROUND_TABLE[scene.background]
    gloss, metal, glow = material.gloss, material.metal, material.glow
    cut = surface.point + block_offset(item.phase)
    albedo = material.colour(cut, surface.normal)
    up = surface.facing[:, 1]
    if scene.adjective == "shiny":
        gloss, metal = 1.3, max(metal, 0.4)
    if scene.adjective == "frozen":
        albedo, gloss, glow = _frozen(material, cut, albedo, up), 0.8, 0.0
    light = light_direction(scene.view)
    key, ambient = torch.tensor(place.key), torch.tensor(place.ambient)
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


@lru_cache(maxsize=8)  # scenes of one place in one view follow each other
def _place(background: str, phase: float, view: View, side: int) -> tuple[Tensor, Tensor]:
    """Colour (side * side, 3) of ground and sky without a shadow, and where the ground is."""
    place = BACKGROUND_TABLE[background]
    origin, d = rays(view, side)
    out = torch.empty_like(d)
    horizon = d[:, 1] > -0.035
    sky, ground = torch.nonzero(horizon)[:, 0], torch.nonzero(~horizon)[:, 0]
    out[sky] = place.sky(d[sky], phase)
    ray = d[ground]
    spot = origin - ray * (origin[1] / ray[:, 1:2])
    spot[:, 1] = 0.0
    out[ground] = place.ground(spot, phase)
    return out, ground


def _backdrop(scene: Scene, shadow: Tensor, side: int) -> Tensor:
    """Compute the linear colour (side * side, 3) of ground and sky."""
    place = BACKGROUND_TABLE[scene.background]
    bare, ground = _place(scene.background, scene.phase, scene.view, side)
    out = bare.clone()
    dim = 1 - place.shadow * (1 - shadow[ground])
    level = light_direction(scene.view)[1] * torch.tensor(place.key) + torch.tensor(place.ambient)
    out[ground] = bare[ground] * dim[:, None] * (level / level.max())
    return out


def _aura(colour: Tensor, thing: Tensor, side: int, phase: float) -> Tensor:
    """Draw flames that rise round what burns."""
    mask = (thing > 0).float().reshape(1, 1, side, side)
    reach = max(side // 10, 1)
    wide = F.max_pool2d(F.pad(mask, (reach // 2,) * 2 + (0, 2 * reach)), (2 * reach + 1, 1), 1)
    wide = F.avg_pool2d(wide[..., :side, :], reach | 1, 1, reach // 2)[..., :side, :side]
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    p = torch.stack([u * 9.0 / side, v * 5.0 / side + phase, torch.zeros_like(u * 1.0)], -1)
    heat = wide.reshape(-1) * (0.35 + fbm(p.reshape(-1, 3), 2)) * (thing == 0)
    fire = mix(rgb(255, 70, 6), rgb(255, 220, 90), step(0.75, 0.3, heat))
    return mix(colour, fire, step(0.5, 0.25, heat))


def compose(scene: Scene, surfaces: Sequence[Surface], side: int) -> tuple[Tensor, Tensor]:
    """Put the lit surfaces of a scene together with its background.

    Args:
        scene: the scene.
        surfaces: the traced surface of each of its items.
        side: samples along a side.

    Returns:
        The picture (side * side, 3) in linear light, and for each sample the number of the item
        seen there, counted from 1, or 0 for the background.
    """
    _, direction = rays(scene.view, side)
    shadow = torch.ones(side * side)
    for surface in surfaces:
        shadow = torch.minimum(shadow, surface.shadow)
    colour = _backdrop(scene, shadow, side)
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
