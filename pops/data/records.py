"""Records: one sample on disk each, in the published folder layouts; nothing is opened here.

    texturing   NAME/base.jpg  NAME/{attributes}_{seed}.jpg  NAME/mask.png  NAME/box.json
    scene       NAME.jpg  NAME_inpainted.jpg  NAME_inpainted.npy
    union       NAME.jpg  NAME_OBJ_0.png  NAME_OBJ_1.png
    pictures    {object}_{placement}_{seed}.jpg

Pictures may be of any usual kind where a name says `.jpg`. What lies beside them is left alone. A
record of which a file is missing is a record all the same: it is found broken when it is opened.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pops.errors import DataError
from pops.io.pictures import picture_suffixes

__all__ = [
    "PictureRecord",
    "Record",
    "SceneRecord",
    "TexturingRecord",
    "UnionRecord",
    "find_pictures",
    "folder_of",
    "read_pictures",
    "read_scenes",
    "read_texturing",
    "read_unions",
]

R = TypeVar("R")
INPAINTED = "_inpainted"
OBJECTS = ("_OBJ_0", "_OBJ_1")


class Record(Protocol):
    """What a recipe makes examples of."""

    @property
    def name(self) -> str:
        """What tells it from the others of its dataset."""

    @property
    def files(self) -> Sequence[Path]:
        """What it is made of, whether it is there or not."""


@dataclass(frozen=True, slots=True)
class TexturingRecord:
    """One scene in several materials: the variants, and the one without any, the base."""

    folder: Path
    base: str
    variants: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def mask(self) -> Path:
        return self.folder / "mask.png"

    @property
    def box(self) -> Path:
        return self.folder / "box.json"

    @property
    def files(self) -> tuple[Path, ...]:
        pictures = (self.folder / name for name in (self.base, *self.variants))
        return (*pictures, self.mask, self.box)


@dataclass(frozen=True, slots=True)
class SceneRecord:
    """An object in its scene, the scene without it, and where it is."""

    picture: Path
    background: Path

    @property
    def name(self) -> str:
        return self.picture.stem

    @property
    def mask(self) -> Path:
        return self.background.with_suffix(".npy")

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture, self.background, self.mask)


@dataclass(frozen=True, slots=True)
class UnionRecord:
    """Two objects in one picture, and each of them cut out."""

    picture: Path
    objects: tuple[Path, Path]

    @property
    def name(self) -> str:
        return self.picture.stem

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture, *self.objects)


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """A picture whose name says what it shows."""

    picture: Path

    @property
    def name(self) -> str:
        return self.picture.stem

    @property
    def words(self) -> str:
        """What the name says it shows: all of it but the seed at its end."""
        parts = self.name.replace("-", " ").split("_")
        return " ".join(" ".join(parts[: max(1, len(parts) - 1)]).split())

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture,)


def read_texturing(place: str) -> list[TexturingRecord]:
    """A record for each folder of pictures in the folder `place`; DataError where none is."""
    found = []
    with os.scandir(folder_of(place)) as entries:
        folders = sorted(e.path for e in entries if e.is_dir() and not e.name.startswith("."))
    for folder in map(Path, folders):
        names = [path.name for path in find_pictures(folder) if path.name != "mask.png"]
        base = next((name for name in names if Path(name).stem == "base"), "base.jpg")
        variants = tuple(name for name in names if name != base)
        if names:
            found.append(TexturingRecord(folder, base, variants))
    return _some(found, place, "folder with base.jpg, its variants and mask.png")


def read_scenes(place: str) -> list[SceneRecord]:
    """A record for each picture of a flat folder that is not another's background."""
    by_stem = {path.stem: path for path in find_pictures(folder_of(place))}
    found = [
        SceneRecord(path, by_stem.get(stem + INPAINTED, path.with_stem(stem + INPAINTED)))
        for stem, path in by_stem.items()
        if not stem.endswith(INPAINTED)
    ]
    return _some(found, place, f"NAME.jpg with NAME{INPAINTED}.jpg and .npy")


def read_unions(place: str) -> list[UnionRecord]:
    """A record for each picture of a flat folder that is not an object of another."""
    by_stem = {path.stem: path for path in find_pictures(folder_of(place))}

    def part(path: Path, ending: str) -> Path:
        missing = path.with_name(f"{path.stem}{ending}.png")
        return by_stem.get(path.stem + ending, missing)

    found = [
        UnionRecord(path, (part(path, OBJECTS[0]), part(path, OBJECTS[1])))
        for stem, path in by_stem.items()
        if not stem.endswith(OBJECTS)
    ]
    return _some(found, place, f"NAME.jpg with NAME{OBJECTS[0]}.png and NAME{OBJECTS[1]}.png")


def read_pictures(place: str) -> list[PictureRecord]:
    """A record for each picture of a flat folder."""
    found = [PictureRecord(path) for path in find_pictures(folder_of(place))]
    return _some(found, place, "picture named {object}_{placement}_{seed}.jpg")


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder by their names, in order; not those of its folders."""
    endings = tuple(picture_suffixes())
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower().endswith(endings)
            )
    except OSError as error:
        raise DataError(
            f"cannot read {folder}: {(error.strerror or str(error)).lower()}"
        ) from error
    return [folder / name for name in names]


def folder_of(place: str) -> Path:
    """The folder of a dataset; DataError where there is none."""
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise DataError(f"no such folder: {place}; --dataset_path wants a folder of samples")
    return folder


def _some(found: list[R], place: str, wanted: str) -> list[R]:
    if not found:
        raise DataError(f"{place} holds no sample of this kind: none is a {wanted}")
    return found
