"""The backgrounds: a ground, a sky, and the light that goes with them.

`ground` colours points (x, z) of the plane y = 0; `sky` colours ray directions that miss it.
Both give linear light; the ground is then lit and shadowed by the renderer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pops.pocket.world.shading.materials import mix, rgb, step
from pops.pocket.world.shading.noise import cells, fbm, value_noise

__all__ = ["BACKGROUND_TABLE", "Background"]

# ground points or sky directions (N, 3), phase -> (N, 3)
Painter = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Background:
    """A place: what is below and behind, and its light (key, sky and ground bounce)."""

    ground: Painter
    sky: Painter
    key: tuple[float, float, float] = (0.86, 0.84, 0.8)
    ambient: tuple[float, float, float] = (0.36, 0.37, 0.4)
    shadow: float = 0.75


def _heights(d: Tensor) -> tuple[Tensor, Tensor]:
    """Find where a direction meets a far backdrop: across (0 in the middle) and height."""
    depth = (-d[:, 2]).clamp_min(0.2)
    return d[:, 0] / depth, d[:, 1] / depth


def _flat(d: Tensor) -> Tensor:
    """Find points on the far backdrop, ready for noise."""
    across, height = _heights(d)
    return torch.stack([across, height, torch.zeros_like(across)], 1)


def _studio(p: Tensor, phase: float) -> Tensor:
    return rgb(236, 236, 238).to(p).expand(len(p), 3)


def _studio_sky(d: Tensor, phase: float) -> Tensor:
    return rgb(236, 236, 238).to(d).expand(len(d), 3)


def _sand(p: Tensor, phase: float) -> Tensor:
    grain = 0.6 * fbm(p * 3.0 + phase, 2) + 0.4 * value_noise(p * 17.0)
    return mix(rgb(246, 222, 164), rgb(222, 186, 122), grain)


def _beach_ground(p: Tensor, phase: float) -> Tensor:
    shore = p[:, 2] + 2.3 + 0.35 * torch.sin(p[:, 0] * 1.3 + phase)
    wave = value_noise(p * torch.tensor([1.2, 1.0, 5.0]).to(p) + phase)
    sea = mix(rgb(24, 130, 190), rgb(70, 190, 214), wave)
    foam = step(-0.3, 0.25, shore) * (1 - step(0.0, 0.1, shore))
    sea = mix(sea, rgb(246, 252, 255), foam)
    return mix(sea, _sand(p, phase), step(0.0, 0.1, shore))


def _blue_sky(d: Tensor, phase: float) -> Tensor:
    _, height = _heights(d)
    cloud = step(0.58, 0.2, fbm(_flat(d) * torch.tensor([5.0, 14.0, 1.0]).to(d) + phase, 2))
    blue = mix(rgb(190, 226, 250), rgb(86, 168, 236), (height * 4.0).clamp(0, 1))
    return mix(blue, rgb(255, 255, 255), 0.8 * cloud)


def _forest_ground(p: Tensor, phase: float) -> Tensor:
    moss = fbm(p * 2.5 + phase, 3)
    green = mix(rgb(58, 84, 26), rgb(104, 128, 44), moss)
    leaf = step(0.72, 0.1, value_noise(p * 7.0 + phase))
    return mix(green, rgb(150, 110, 50), leaf)


def _forest_sky(d: Tensor, phase: float) -> Tensor:
    across, height = _heights(d)
    column = across * 9.0 + phase
    flat = torch.stack([torch.floor(column) * 3.3, column * 0, column * 0], 1) + 0.5
    half = 0.12 + 0.2 * value_noise(flat)
    trunk = 1 - step(0.0, 0.1, (column - torch.floor(column) - 0.5).abs() - half)
    leaves = fbm(_flat(d) * 16.0 + phase, 2)
    back = mix(rgb(34, 78, 30), rgb(120, 170, 70), leaves)
    crown = step(0.13, 0.06, height + 0.2 * (leaves - 0.5))
    return mix(mix(back, rgb(66, 44, 26), trunk), mix(rgb(24, 66, 22), back, leaves), crown)


def _night_ground(p: Tensor, phase: float) -> Tensor:
    return mix(rgb(34, 40, 86), rgb(52, 60, 112), fbm(p * 2.0 + phase, 2))


def _night_sky(d: Tensor, phase: float) -> Tensor:
    across, height = _heights(d)
    base = mix(rgb(34, 38, 96), rgb(10, 12, 44), (height * 3.5).clamp(0, 1))
    near, _, _ = cells(_flat(d) * 17.0 + phase)
    star = 1 - step(0.1, 0.06, near)
    moon_x = 0.22 * torch.sin(torch.tensor(phase))
    moon = torch.sqrt((across - moon_x).square() + (height - 0.075).square())
    lit = mix(base, rgb(255, 255, 240), star)
    return mix(rgb(255, 248, 214), lit, step(0.045, 0.012, moon))


def _snow_ground(p: Tensor, phase: float) -> Tensor:
    return mix(rgb(250, 252, 255), rgb(206, 222, 246), fbm(p * 1.6 + phase, 2))


def _snow_sky(d: Tensor, phase: float) -> Tensor:
    across, height = _heights(d)
    column = across * 11.0 + phase
    near = (column - torch.floor(column) - 0.5).abs() * 2.0
    key = torch.stack([torch.floor(column) * 2.9, column * 0, column * 0], 1) + 0.5
    tall = 0.03 + 0.1 * value_noise(key)
    tree = step(0.0, 0.02, tall * (1.0 - near) - height)
    sky = mix(rgb(222, 232, 246), rgb(176, 200, 232), (height * 3.0).clamp(0, 1))
    return mix(sky, rgb(62, 100, 104), tree)


def _room_ground(p: Tensor, phase: float) -> Tensor:
    board = p[:, 0] * 1.7 + phase
    key = torch.stack([torch.floor(board) * 4.1, board * 0, board * 0], 1) + 0.5
    grain = value_noise(p * torch.tensor([9.0, 1.0, 1.2]).to(p) + phase)
    plank = mix(rgb(146, 84, 48), rgb(108, 58, 30), 0.6 * grain + 0.4 * value_noise(key))
    gap = (board - torch.floor(board) - 0.5).abs()
    return mix(plank, rgb(62, 32, 16), step(0.475, 0.03, gap))


def _room_sky(d: Tensor, phase: float) -> Tensor:
    across, height = _heights(d)
    stripe = step(0.0, 0.25, torch.sin(across * 60.0))
    wall = mix(rgb(240, 222, 188), rgb(228, 196, 150), stripe)
    skirting = 1 - step(0.012, 0.01, height)
    wall = mix(wall, rgb(250, 246, 238), skirting)
    u, v = (across - 0.2 * torch.sin(torch.tensor(phase))).abs(), (height - 0.1).abs()
    frame = 1 - step(0.0, 0.01, torch.maximum(u - 0.135, v - 0.05))
    pane = 1 - step(0.0, 0.008, torch.maximum((u - 0.062).abs() - 0.052, v - 0.038))
    return mix(mix(wall, rgb(252, 252, 250), frame), rgb(130, 190, 236), pane)


def _dune_ground(p: Tensor, phase: float) -> Tensor:
    ripple = torch.sin(p[:, 2] * 9.0 + 2.5 * fbm(p * 1.1 + phase, 2) * 4.0 + p[:, 0] * 2.0)
    return mix(rgb(238, 158, 84), rgb(208, 116, 52), 0.5 + 0.5 * ripple)


def _dune_sky(d: Tensor, phase: float) -> Tensor:
    across, height = _heights(d)
    ridge = 0.05 + 0.035 * torch.sin(across * 7.0 + phase) + 0.02 * torch.sin(across * 17.0)
    sky = mix(rgb(255, 226, 170), rgb(250, 186, 120), (height * 3.0).clamp(0, 1))
    return mix(rgb(196, 104, 50), sky, step(0.0, 0.015, height - ridge))


def _street_ground(p: Tensor, phase: float) -> Tensor:
    tar = mix(rgb(92, 94, 100), rgb(116, 118, 124), value_noise(p * 12.0 + phase))
    mark = (p[:, 0] * 0.35 + p[:, 2] + 1.9).abs()
    dash = step(0.0, 0.2, torch.sin(p[:, 0] * 4.0 + phase))
    return mix(tar, rgb(250, 214, 70), (1 - step(0.09, 0.03, mark)) * dash)


def _street_sky(d: Tensor, phase: float) -> Tensor:
    across, height = _heights(d)
    lot = across * 10.0 + phase
    key = torch.stack([torch.floor(lot) * 5.3, lot * 0, lot * 0], 1) + 0.5
    tall = 0.02 + 0.12 * value_noise(key)
    tone = value_noise(key + 3.0)
    front = mix(rgb(92, 104, 134), rgb(150, 132, 134), tone)
    column, row = torch.sin(lot * 2 * torch.pi * 3.0), torch.sin(height * 150.0)
    front = mix(front, rgb(255, 232, 150), step(0.2, 0.3, column) * step(0.0, 0.3, row))
    sky = mix(rgb(214, 222, 236), rgb(160, 182, 216), (height * 3.0).clamp(0, 1))
    return mix(front, sky, step(0.0, 0.012, height - tall))


BACKGROUND_TABLE: dict[str, Background] = {
    "studio": Background(_studio, _studio_sky, ambient=(0.42, 0.42, 0.43), shadow=0.45),
    "beach": Background(_beach_ground, _blue_sky, key=(0.95, 0.9, 0.8)),
    "forest": Background(
        _forest_ground, _forest_sky, key=(0.8, 0.84, 0.66), ambient=(0.3, 0.36, 0.27)
    ),
    "night": Background(
        _night_ground, _night_sky, key=(0.6, 0.64, 0.82), ambient=(0.2, 0.22, 0.36)
    ),
    "snow": Background(
        _snow_ground, _snow_sky, key=(0.84, 0.86, 0.9), ambient=(0.42, 0.44, 0.5), shadow=0.55
    ),
    "room": Background(_room_ground, _room_sky, key=(0.9, 0.82, 0.68)),
    "desert": Background(_dune_ground, _dune_sky, key=(1.0, 0.88, 0.68), ambient=(0.4, 0.34, 0.3)),
    "city": Background(_street_ground, _street_sky, key=(0.82, 0.84, 0.88)),
}
