"""Scenes to pictures, in batches.

Scenes that share geometry (things, places, view) are traced once and shaded many times. Every scene
renders the same alone and in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.world.geometry.trace import Placed, Surface, placing, trace_all
from pops.pocket.world.scene import Scene, Swatch
from pops.pocket.world.shading.materials import MATERIAL_TABLE
from pops.pocket.world.shading.shade import block_offset, compose

__all__ = ["Rendering", "render", "render_swatches"]

_SUPERSAMPLE = 2


@dataclass(frozen=True)
class Rendering:
    """Pictures and what is where in them.

    pictures: (N, H, W, 3) uint8. things: (N, H, W) uint8, 0 for the background and i + 1 where
    item i of the scene is seen.
    """

    pictures: Tensor
    things: Tensor

    def mask(self, scene: int, item: int) -> Tensor:
        """Tell where an item of a scene is seen.

        Args:
            scene: the number of the scene.
            item: the number of the item in it.

        Returns:
            (H, W) of booleans.
        """
        return self.things[scene] == item + 1

    def box(self, scene: int, item: int) -> tuple[int, int, int, int] | None:
        """Find the box round an item of a scene.

        Args:
            scene: the number of the scene.
            item: the number of the item in it.

        Returns:
            (x1, y1, x2, y2) in pixels, x2 and y2 exclusive; None where the item is hidden.
        """
        seen = self.mask(scene, item)
        if not seen.any():
            return None
        ys, xs = torch.nonzero(seen, as_tuple=True)
        return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def _develop(colour: Tensor, side: int) -> Tensor:
    """Average the samples and encode as sRGB: (side * side, 3) -> (side / 2, side / 2, 3)."""
    square = colour.clamp(0, 1).reshape(1, side, side, 3).permute(0, 3, 1, 2)
    mean = F.avg_pool2d(square, _SUPERSAMPLE)[0].permute(1, 2, 0)
    return (mean ** (1 / 2.2) * 255 + 0.5).to(torch.uint8)


def _seen(thing: Tensor, side: int) -> Tensor:
    """Find which item holds most of a pixel, the background included; of equals the first."""
    n = _SUPERSAMPLE
    samples = thing.reshape(side // n, n, side // n, n).permute(1, 3, 0, 2).flatten(0, 1)
    held = (samples[:, None] == samples[None]).sum(1, dtype=torch.int16)
    # A sample that more hold is more, and of as many a lower number.
    best = (held * 256 - samples).argmax(0, keepdim=True)
    return samples.gather(0, best)[0]


@torch.no_grad()
def render(
    scenes: Sequence[Scene], size: int = 64, traced: dict[Placed, Surface] | None = None
) -> Rendering:
    """Render scenes, with the exact place of every item.

    Args:
        scenes: the scenes; those that share things, places and view are traced once.
        size: pixels of a side.
        traced: geometry that was traced at this size before; what is traced now is added to it.

    Returns:
        Pictures (N, size, size, 3), and which item is seen at each pixel.
    """
    side = size * _SUPERSAMPLE
    traced = {} if traced is None else traced
    placed = (placing(item, scene.view) for scene in scenes for item in scene.items)
    traced.update(trace_all((key for key in placed if key not in traced), side))
    pictures, things = [], []
    for scene in scenes:
        surfaces = [traced[placing(item, scene.view)] for item in scene.items]
        colour, thing = compose(scene, surfaces, side)
        pictures.append(_develop(colour, side))
        things.append(_seen(thing, side))
    return Rendering(torch.stack(pictures), torch.stack(things))


@torch.no_grad()
def render_swatches(swatches: Sequence[Swatch], size: int = 64) -> Tensor:
    """Render flat samples of materials.

    Args:
        swatches: the samples.
        size: pixels of a side.

    Returns:
        Pictures (N, size, size, 3) of uint8.
    """
    side = size * _SUPERSAMPLE
    s = (torch.arange(side) + 0.5) / side - 0.5
    v, u = torch.meshgrid(-s, s, indexing="ij")
    flat = torch.stack([u, v, torch.zeros_like(u)], -1).reshape(-1, 3)
    normal = torch.tensor([0.0, 0.0, 1.0]).expand(side * side, 3)
    pictures = []
    for swatch in swatches:
        material = MATERIAL_TABLE[swatch.material]
        colour = material.colour(flat * swatch.scale + block_offset(swatch.phase), normal)
        # A soft fall-off of the light, stronger on metal.
        slope = (flat[:, 0] * 0.5 + flat[:, 1])[:, None]
        light = swatch.light * (0.95 + (0.15 + 0.5 * material.metal) * slope)
        glow = material.glow * colour * (colour[:, :1] > 0.25)
        pictures.append(_develop(colour * light + glow, side))
    return torch.stack(pictures)
