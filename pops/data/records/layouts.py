"""Records: samples on disk in the published folder layouts. Nothing is opened here.

    texturing   NAME/base.jpg  NAME/{attributes}_{seed}.jpg  NAME/mask.png  NAME/box.json
    scene       NAME.jpg  NAME_inpainted.jpg  NAME_inpainted.npy
    union       NAME.jpg  NAME_OBJ_0.png  NAME_OBJ_1.png
    pictures    {object}_{placement}_{seed}.jpg

Pictures may be of any usual format where a name says `.jpg`. Other files are left alone. A record
of which a file is missing is a record all the same: it is found broken when it is opened.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

from pops.errors import DataError
from pops.io.names import expand_home
from pops.io.pictures import picture_suffixes

__all__ = [
    "PictureRecord",
    "Record",
    "SceneRecord",
    "Stems",
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
    """One sample of a dataset, of which a recipe makes examples."""

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""

    @property
    def files(self) -> Sequence[Path]:
        """The files of the record, whether they are there or not."""


@dataclass(frozen=True, slots=True)
class TexturingRecord:
    """A thing in several materials, the variants, and the same without any of them, the base."""

    folder: Path
    base: str
    variants: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return self.folder.name

    @property
    def mask(self) -> Path:
        """The picture of the object's mask."""
        return self.folder / "mask.png"

    @property
    def box(self) -> Path:
        """The file with the object's box."""
        return self.folder / "box.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        pictures = (self.folder / name for name in (self.base, *self.variants))
        return (*pictures, self.mask, self.box)


@dataclass(frozen=True, slots=True)
class SceneRecord:
    """An object in its scene, the scene without the object, and the mask of the object."""

    picture: Path
    background: Path

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return self.picture.stem

    @property
    def mask(self) -> Path:
        """The array of the object's mask."""
        return self.background.with_suffix(".npy")

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        return (self.picture, self.background, self.mask)


@dataclass(frozen=True, slots=True)
class UnionRecord:
    """Two objects in one picture, and each of them cut out."""

    picture: Path
    objects: tuple[Path, Path]

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return self.picture.stem

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        return (self.picture, *self.objects)


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """A picture whose name says what it shows."""

    picture: Path

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return self.picture.stem

    @property
    def words(self) -> str:
        """The words of the name, which say what is shown, without the seed at the end."""
        parts = self.name.replace("-", " ").split("_")
        return " ".join(" ".join(parts[: max(1, len(parts) - 1)]).split())

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        return (self.picture,)


@dataclass(frozen=True)
class Stems:
    """The pictures of a flat folder, found by their names without the ending."""

    pictures: Sequence[Path]
    by_stem: Mapping[str, Sequence[Path]]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """List the pictures of a folder.

        Args:
            folder: The folder.

        Returns:
            Its pictures.

        Raises:
            DataError: The folder cannot be read.
        """
        pictures = find_pictures(folder)
        by_stem: dict[str, list[Path]] = {}
        for path in pictures:
            by_stem.setdefault(path.stem, []).append(path)
        return cls(pictures, by_stem)

    def part(self, picture: Path, ending: str, suffix: str) -> Path:
        """Find the picture that belongs to another by its name, as NAME_mask.png to NAME.jpg.

        Args:
            picture: The picture NAME.jpg.
            ending: What follows NAME in the name of the part.
            suffix: The suffix of the path that is given where there is no such part.

        Returns:
            The part. Of several that differ in their suffix alone, the one with the suffix of
            `picture`, or else with `suffix`.

        Raises:
            DataError: Several parts differ in their suffix alone, and none is meant.
        """
        found = self.by_stem.get(picture.stem + ending, ())
        if len(found) < 2:
            return found[0] if found else picture.with_name(f"{picture.stem}{ending}{suffix}")
        for wanted in (picture.suffix, suffix):
            for path in found:
                if path.suffix == wanted:
                    return path
        raise DataError(
            f"{found[0]} and {found[1]} both belong to {picture.name}: remove one of them"
        )


def read_texturing(place: str) -> list[TexturingRecord]:
    """List a record for each folder of pictures in a folder.

    Args:
        place: The folder of the dataset.

    Returns:
        The records in the order of their names.

    Raises:
        DataError: There is no such folder, or no record in it.
    """
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
    """List a record for each picture of a flat folder that is not the background of another.

    Args:
        place: The folder of the dataset.

    Returns:
        The records in the order of their names.

    Raises:
        DataError: There is no such folder, no record in it, or a background is there twice.
    """
    stems = Stems.of(folder_of(place))
    found = [
        SceneRecord(path, stems.part(path, INPAINTED, path.suffix))
        for path in stems.pictures
        if not path.stem.endswith(INPAINTED)
    ]
    return _some(found, place, f"NAME.jpg with NAME{INPAINTED}.jpg and .npy")


def read_unions(place: str) -> list[UnionRecord]:
    """List a record for each picture of a flat folder that is not an object of another.

    Args:
        place: The folder of the dataset.

    Returns:
        The records in the order of their names.

    Raises:
        DataError: There is no such folder, no record in it, or an object is there twice.
    """
    stems = Stems.of(folder_of(place))
    first, second = OBJECTS
    found = [
        UnionRecord(path, (stems.part(path, first, ".png"), stems.part(path, second, ".png")))
        for path in stems.pictures
        if not path.stem.endswith(OBJECTS)
    ]
    return _some(found, place, f"NAME.jpg with NAME{first}.png and NAME{second}.png")


def read_pictures(place: str) -> list[PictureRecord]:
    """List a record for each picture of a flat folder.

    Args:
        place: The folder of the dataset.

    Returns:
        The records in the order of their names.

    Raises:
        DataError: There is no such folder, or no picture in it.
    """
    found = [PictureRecord(path) for path in find_pictures(folder_of(place))]
    return _some(found, place, "picture named {object}_{placement}_{seed}.jpg")


def find_pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder, but not those of the folders in it.

    Args:
        folder: The folder.

    Returns:
        The paths in the order of their names; hidden files are left out.

    Raises:
        DataError: The folder cannot be read.
    """
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
    """Find the folder of a dataset.

    Args:
        place: Its path, in which ~ is the home folder.

    Returns:
        The folder.

    Raises:
        DataError: There is no such folder.
    """
    folder = expand_home(place)
    if not folder.is_dir():
        raise DataError(
            f"no such folder: {place}; name a folder of samples, or make one with pops generate"
        )
    return folder


def _some(found: list[R], place: str, wanted: str) -> list[R]:
    if not found:
        raise DataError(f"{place} holds no sample of this kind: none is a {wanted}")
    return found
