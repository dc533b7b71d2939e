"""What a recipe works with: its settings, and a reader that opens each file once."""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from pops.errors import InputError
from pops.io.pictures import open_picture

__all__ = ["Reader", "RecipeSettings", "read_words"]

T = TypeVar("T")
WORDS = Path(__file__).parent / "words"


def read_words(place: str | Path) -> tuple[str, ...]:
    """The lines of a word list, without empty ones and those that begin with #.

    `place`: a file, or the name of a list in `pops/data/words`.

    Raises:
        InputError: it cannot be read as text.
    """
    own = WORDS / f"{place}.txt"
    path = own if own.is_file() else Path(place).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(path.stem for path in WORDS.glob("*.txt")))
        raise InputError(
            f"cannot read {place} as a list of words ({error}); the lists of pops are {known}"
        ) from error
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """What recipes can be told. Folders are lists of their pictures."""

    textures: tuple[Path, ...] = ()  # textures from elsewhere: the target is then the object
    backgrounds: tuple[Path, ...] = ()  # what an object is pasted on, half of the time
    randoms: tuple[Path, ...] = ()  # pictures for the unconditional share of examples
    adjectives: tuple[str, ...] = field(default_factory=lambda: read_words("adjectives"))
    art_types: tuple[str, ...] = field(default_factory=lambda: read_words("art_types"))
    garment_side: int = 60  # pixels of the shorter side of a garment, at least
    garment_area: int = 1800  # pixels of a garment, at least


class Reader:
    """Opens what the examples of one record need, each thing once.

    Raises InputError, naming the file, for what cannot be read.
    """

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings = settings
        self.broken: list[str] = []  # why pictures of the settings' folders were passed over
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made when it is first asked for by that key."""
        if key not in self._known:
            self._known[key] = make()
        known: T = self._known[key]
        return known

    def picture(self, path: Path) -> Image.Image:
        """A picture as RGB; it is shared, and not to be changed."""
        return self.once(path, lambda: open_picture(path))

    def random_picture(self, paths: Sequence[Path], rng: Random) -> Image.Image:
        """One of the pictures, each equally likely; the one after it where it cannot be read."""
        start = rng.randrange(len(paths))
        for path in (*paths[start:], *paths[:start]):
            try:
                return self.picture(path)
            except InputError as error:
                self.broken.append(str(error))
        raise InputError(f"none of the pictures in {paths[0].parent} can be read")

    def mask_picture(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """A mask (H, W) of booleans from a picture, white where true, resized to (W, H)."""

        def make() -> np.ndarray:
            grey = open_picture(path).convert("L")
            if grey.size != size:
                grey = grey.resize(size, Image.Resampling.NEAREST)
            return np.asarray(grey) > 127

        return self.once((path, size), make)

    def alpha(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """An array file as alpha (H, W) uint8: of 0 and 1, or of 0 to 255."""

        def make() -> np.ndarray:
            try:
                array = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{path}: cannot be read as an array ({error})") from error
            if array.shape[:2] != size[::-1] or array.ndim > 3:
                raise InputError(f"{path}: {array.shape} is no mask of {size[::-1]} pixels")
            array = (array[..., -1] if array.ndim == 3 else array).astype(np.float32)
            if not array.max() > 0:
                raise InputError(f"{path}: the mask is empty")
            full = 1.0 if array.max() <= 1 else 255.0
            return (array.clip(0, full) * (255.0 / full)).astype(np.uint8)

        return self.once((path, size), make)

    def box(self, path: Path, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) of a JSON file, within a picture of (W, H); all of it without a file."""

        def make() -> tuple[int, int, int, int]:
            if not path.exists():
                return 0, 0, *size
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(found, dict):
                    found = [found[key] for key in ("x1", "y1", "x2", "y2")]
                x1, y1, x2, y2 = (float(value) for value in found)
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path}: no box [x1, y1, x2, y2] ({error})") from error
            (x1, x2), (y1, y2) = (
                np.clip(pair, 0, most).round().astype(int).tolist()
                for pair, most in (((x1, x2), size[0]), ((y1, y2), size[1]))
            )
            if x1 >= x2 or y1 >= y2:
                raise InputError(f"{path}: the box is empty or outside of the picture")
            return x1, y1, x2, y2

        return self.once((path, size), make)
