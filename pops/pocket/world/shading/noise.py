"""Smooth noise and cells for solid materials; the same everywhere and on every machine."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["cells", "fbm", "value_noise"]

_SIDE = 32


_LATTICE = torch.rand(_SIDE**3, generator=torch.Generator().manual_seed(0))
# The lattice as a volume whose last plane repeats the first, so that it wraps round.
_VOLUME = F.pad(_LATTICE.reshape(1, 1, _SIDE, _SIDE, _SIDE), (0, 1) * 3, mode="circular")


def value_noise(p: Tensor) -> Tensor:
    """Compute smooth noise whose features are about one unit wide, with a period of 32 units.

    Args:
        p: points (N, 3).

    Returns:
        Noise (N,) in [0, 1].
    """
    low = torch.floor(p)
    f = p - low
    smooth = low % _SIDE + f * f * (3.0 - 2.0 * f)
    grid = (smooth * (2.0 / _SIDE) - 1.0).reshape(1, -1, 1, 1, 3)
    return F.grid_sample(_VOLUME, grid, align_corners=True).reshape(-1)


def fbm(p: Tensor, octaves: int = 3) -> Tensor:
    """Compute fractal noise: a sum of noise of ever half the size and half the height.

    Args:
        p: points (N, 3).
        octaves: the number of sizes.

    Returns:
        Noise (N,) in [0, 1].
    """
    total, height = torch.zeros_like(p[:, 0]), 0.0
    for k in range(octaves):
        total += value_noise(p * 2.0**k + 7.3 * k) * 0.5**k
        height += 0.5**k
    return total / height


def cells(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the Voronoi cells that points lie in; every unit cube has one jittered centre.

    Args:
        p: points (N, 3).

    Returns:
        The distance to the nearest centre, the distance to the second nearest, and a random number
        in [0, 1] that names the nearest cell; each (N,).
    """
    # The nearest centre lies in the 2 x 2 x 2 cubes round the point but for rare corners.
    low = torch.floor(p - 0.5)
    offsets = torch.tensor([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]).to(p)
    cube = low[:, None, :] + offsets
    i = cube.long() % _SIDE
    key = (i[..., 0] * _SIDE + i[..., 1]) * _SIDE + i[..., 2]
    jitter = torch.stack([_LATTICE[(key + s) % _SIDE**3] for s in (0, 7919, 15485)], -1)
    distance = (cube + 0.15 + 0.7 * jitter - p[:, None, :]).square().sum(-1)
    near, which = distance.topk(2, dim=1, largest=False)
    near = near.sqrt()
    name = _LATTICE[(key.gather(1, which[:, :1])[:, 0] + 4241) % _SIDE**3]
    return near[:, 0], near[:, 1], name
