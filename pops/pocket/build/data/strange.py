"""Pictures that are nothing of the pocket world, made by code: they stand for photographs.

Most are "dead leaves", shapes of all sizes that hide one another, each with a texture of its own:
their statistics are nearly those of photographs (Lee, Mumford and Huang 2001; Baradad et al. 2021).
The others are smooth fields, gradients, lettering and lines.
"""

import random
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["strange_pictures"]

SIDE = 128
LEAVES = (30, 400)  # shapes of a picture, fewest and most
SIZES = (3.0, 60.0)  # radius of a shape in pixels, drawn by a power law
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "waits")


def _noise(rng: np.random.Generator, power: float) -> np.ndarray:
    """A field (S, S) whose amplitude falls as frequency ** -power, in [0, 1]."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * frequency**-power
    field = np.real(np.fft.ifft2(spectrum))
    low, high = np.percentile(field, (1, 99))
    return np.asarray(np.clip((field - low) / (high - low + 1e-9), 0, 1))


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Two related colours (S, S, 3) in [0, 1], mixed by a noise of any roughness."""
    base = rng.uniform(0, 1, 3) * rng.uniform(0.3, 1) ** rng.integers(0, 2)
    other = np.clip(base + rng.normal(0, rng.choice((0.05, 0.15, 0.3)), 3), 0, 1)
    mixed = _noise(rng, rng.uniform(0.3, 2.0))[..., None]
    return np.asarray(base + (other - base) * mixed)


def _leaf(rng: np.random.Generator) -> Image.Image:
    """The mask of a disc, a box or a ragged polygon."""
    exponent = rng.uniform(1.5, 3.0)
    low, high = (side ** (1 - exponent) for side in SIZES)
    radius = (low + rng.uniform() * (high - low)) ** (1 / (1 - exponent))
    x, y = rng.uniform(0, SIDE, 2)
    corners = int(rng.choice((4, 5, 7, 24)))
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0)
    angles = turn + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = radius * rng.uniform(0.6 if corners < 24 else 0.95, 1.0, corners)
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii * stretch], 1) + (x, y)
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points], fill=255)
    return mask


def _dead_leaves(rng: np.random.Generator) -> Image.Image:
    textures = [Image.fromarray((_texture(rng) * 255).astype(np.uint8)) for _ in range(8)]
    page = textures[0].copy()
    for _ in range(int(rng.integers(*LEAVES))):
        page.paste(textures[rng.integers(8)], mask=_leaf(rng))
    light = 0.5 + _noise(rng, 2.0)[..., None] * rng.uniform(0, 0.8)
    shaded = Image.fromarray((np.asarray(page) * light).clip(0, 255).astype(np.uint8))
    return shaded.filter(ImageFilter.GaussianBlur(float(rng.choice((0.0, 0.5, 1.0, 2.0)))))


def _field(rng: np.random.Generator) -> Image.Image:
    power = rng.uniform(0.0, 2.2)
    channels = [_noise(rng, power) for _ in range(3)]
    grey = rng.uniform() if rng.uniform() < 0.7 else 1.0
    pixels = np.stack([grey * channels[0] + (1 - grey) * one for one in channels], -1)
    return Image.fromarray((pixels * 255).astype(np.uint8))


def _gradient(rng: np.random.Generator) -> Image.Image:
    ends = rng.uniform(0, 255, (2, 3))
    x, y = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
    turn = rng.uniform(0, 2 * np.pi)
    along = (np.cos(turn) * x + np.sin(turn) * y) % 1.0001
    return Image.fromarray((ends[0] + (ends[1] - ends[0]) * along[..., None]).astype(np.uint8))


def _lettering(rng: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", (2 * SIDE,) * 2, tuple(rng.integers(180, 256, 3).tolist()))
    pen, ink = ImageDraw.Draw(page), tuple(rng.integers(0, 90, 3).tolist())
    for row in range(4, 2 * SIDE, 12):
        pen.text((6, row), " ".join(rng.choice(WORDS, 9)), fill=ink)
    return page.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _lines(rng: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(5, 60))):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        pen.line(rng.uniform(0, SIDE, 4).tolist(), fill=colour, width=int(rng.integers(1, 6)))
    return page


KINDS: dict[Callable[[np.random.Generator], Image.Image], float] = {
    _dead_leaves: 0.65,
    _field: 0.15,
    _lines: 0.08,
    _lettering: 0.06,
    _gradient: 0.06,
}


def strange_pictures(count: int, seed: str) -> Iterator[Image.Image]:
    """Pictures (128, 128) that show nothing of the pocket world; the same seed gives the same."""
    rng = random.Random(seed)
    for _ in range(count):
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        yield kind(np.random.default_rng(rng.getrandbits(63)))
