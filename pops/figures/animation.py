"""Moving pictures: the values of a range, there and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pops.errors import UsageError
from pops.io.files import atomic_path

__all__ = ["save_animation"]

FRAME = 120  # milliseconds
REST = 600  # at either end


def save_animation(frames: Sequence[Image.Image], path: str | Path) -> None:
    """Write pictures as one that moves through them, there and back, without end.

    Args:
        frames: two or more pictures; smaller ones get a white margin below and to the right.
        path: a file that ends in .webp or .gif.

    Raises:
        UsageError: the ending is another.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    kinds = {".webp": ("WEBP", {"quality": 90}), ".gif": ("GIF", {})}
    if path.suffix.lower() not in kinds:
        raise UsageError(f"{path}: the name of a moving picture must end in {' or '.join(kinds)}")
    kind, how = kinds[path.suffix.lower()]
    size = (max(one.width for one in frames), max(one.height for one in frames))
    pages = [Image.new("RGB", size, "white") for _ in frames]
    for page, frame in zip(pages, frames, strict=True):
        page.paste(frame)
    first, *rest = [*pages, *pages[-2:0:-1]]
    ends = (0, len(frames) - 1)
    durations = [REST if at in ends else FRAME for at in range(len(rest) + 1)]
    with atomic_path(path, suffix=".part") as part, part.open("wb") as file:
        first.save(file, kind, save_all=True, append_images=rest, duration=durations, loop=0, **how)
