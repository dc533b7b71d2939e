"""The pictures that come with pops, which examples, the demo and the studio start from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["assets_folder", "example_pictures"]

PACKAGE = Path(__file__).parents[1]


@cache
def assets_folder() -> Path:
    """Find the folder of the pictures that come with pops.

    An installed package holds it. In a checkout the package holds a link to it; where links cannot
    be made, as on Windows, the folder itself is at the root of the checkout.

    Returns:
        The folder, whose folders `objects`, `textures`, ... hold PNG files.
    """
    places = (PACKAGE / "assets", PACKAGE.parent / "assets")
    return next((place for place in places if place.is_dir()), places[0])


def example_pictures() -> dict[str, Path]:
    """List the pictures that come with pops.

    Returns:
        The files by name, such as `objects/mug`, in the order of the names.
    """
    found = sorted(assets_folder().glob("*/*.png"))
    return {f"{path.parent.name}/{path.stem}": path for path in found}
