"""The settings of recipes, and a reader that opens each file of a record once."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from pops.data.cutting import Box
from pops.data.human_parsing import LEAST_AREA, LEAST_SIDE
from pops.data.word_lists import read_words
from pops.errors import InputError
from pops.io.formats.arrays import read_array
from pops.io.formats.schema import read_json
from pops.io.pictures import open_picture

__all__ = ["Reader", "RecipeSettings", "read_corners"]

T = TypeVar("T")
BOX_BYTES = 10_000  # bytes of the largest file with a box
BOX_KIND: Any = tuple[float, float, float, float] | dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """Settings of all recipes. Folders are given as lists of their pictures."""

    textures: tuple[Path, ...] = ()  # textures from elsewhere: the target is then the object
    backgrounds: tuple[Path, ...] = ()  # pictures behind half of the objects
    randoms: tuple[Path, ...] = ()  # pictures for the unconditional share of examples
    adjectives: tuple[str, ...] = field(default_factory=lambda: read_words("adjectives"))
    art_types: tuple[str, ...] = field(default_factory=lambda: read_words("art_types"))
    garment_side: int = LEAST_SIDE  # pixels of the shorter side of a garment, at least
    garment_area: int = LEAST_AREA  # pixels of a garment, at least


class Reader:
    """Opens the files that the examples of one record need, each of them once.

    Every method raises `InputError`, which names the file, for a file that cannot be used.
    """

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        self.broken: list[str] = []  # why pictures of the settings' folders were passed over
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Give the value of a key, made when the key is first asked for.

        Args:
            key: The name of the value within this record.
            make: The function that makes the value.

        Returns:
            The value; the same object every time.
        """
        if key not in self._known:
            self._known[key] = make()
        known: T = self._known[key]
        return known

    def picture(self, path: Path) -> Image.Image:
        """Open a picture as RGB. It is shared and must not be changed.

        Args:
            path: The picture file.

        Returns:
            The picture.
        """
        return self.once(path, lambda: open_picture(path))

    def random_picture(self, paths: Sequence[Path], rng: Random) -> Image.Image:
        """Open one of several pictures, each equally likely.

        A picture that cannot be read is noted in `broken`, and the one after it is taken.

        Args:
            paths: The picture files, at least one.
            rng: The generator of the choice.

        Returns:
            The picture as RGB.

        Raises:
            InputError: None of the pictures can be read.
        """
        start = rng.randrange(len(paths))
        for path in (*paths[start:], *paths[:start]):
            try:
                return self.picture(path)
            except InputError as error:
                self.broken.append(str(error))
        raise InputError(f"none of the pictures in {paths[0].parent} can be read")

    def mask_picture(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """Open a picture as a mask: white is true.

        Args:
            path: The picture file.
            size: (W, H) in pixels, to which the mask is resized.

        Returns:
            (H, W) of booleans.
        """

        def make() -> np.ndarray:
            grey = open_picture(path).convert("L")
            if grey.size != size:
                grey = grey.resize(size, Image.Resampling.NEAREST)
            return np.asarray(grey) > 127

        return self.once((path, size), make)

    def alpha(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """Open an array file as the opacity of a picture.

        Args:
            path: A `.npy` file of 0 and 1, or of 0 to 255; (H, W), or (H, W, C), of which the last
                channel counts.
            size: (W, H) of the picture in pixels, which the array must have.

        Returns:
            (H, W) uint8.
        """

        def make() -> np.ndarray:
            array = read_array(path)
            if array.ndim not in (2, 3) or array.shape[:2] != size[::-1] or not array.size:
                raise InputError(
                    f"{path}: an array of the shape {array.shape} is not a mask for a picture "
                    f"of {size[::-1]} pixels"
                )
            with np.errstate(over="ignore"):  # what is too large is infinite, and refused
                array = (array[..., -1] if array.ndim == 3 else array).astype(np.float32)
            if not np.isfinite(array).all():
                raise InputError(f"{path}: the mask holds numbers that are not finite")
            if not array.max() > 0:
                raise InputError(f"{path}: the mask is empty")
            full = 1.0 if array.max() <= 1 else 255.0
            return (array.clip(0, full) * (255.0 / full)).astype(np.uint8)

        return self.once((path, size), make)

    def box(self, path: Path, size: tuple[int, int]) -> Box:
        """Open a JSON file with a box: `[x1, y1, x2, y2]`, or an object with these keys.

        Args:
            path: The file; without one, the box is the whole picture.
            size: (W, H) of the picture in pixels, to which the box is cut.

        Returns:
            The box in whole pixels, not empty.
        """

        def make() -> Box:
            corners = read_corners(path)
            if corners is None:
                return 0, 0, *size
            x1, y1, x2, y2 = corners
            (x1, x2), (y1, y2) = (
                np.clip(pair, 0, most).round().astype(int).tolist()
                for pair, most in (((x1, x2), size[0]), ((y1, y2), size[1]))
            )
            if x1 >= x2 or y1 >= y2:
                raise InputError(f"{path}: the box is empty or lies outside the picture")
            return int(x1), int(y1), int(x2), int(y2)

        return self.once((path, size), make)


def read_corners(path: Path) -> tuple[float, float, float, float] | None:
    """Read the box of a record.

    Args:
        path: Its JSON file, with a list of four numbers or with them by name.

    Returns:
        x1, y1, x2 and y2; None where there is no file.

    Raises:
        InputError: The file is damaged, or holds something else.
    """
    if not path.exists():
        return None
    found = read_json(path, BOX_KIND, InputError, BOX_BYTES)
    if not isinstance(found, dict):
        return found
    if missing := {"x1", "y1", "x2", "y2"} - found.keys():
        raise InputError(f"{path}: {min(missing)} is missing: write x1, y1, x2 and y2")
    return found["x1"], found["y1"], found["x2"], found["y2"]
