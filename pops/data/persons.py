"""Records of human parsing: a person and a map of what each pixel is, from a folder or the hub.

folder   NAME.jpg  NAME_mask.png, whose values are the labels of ATR: 0 nothing, 1 hat, ...
hub      a dataset of `datasets` with the columns image and mask: OWNER/NAME, or a folder that
         `save_to_disk` has written
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from pops.data.records import find_pictures, folder_of
from pops.errors import DataError, InputError, install_hint
from pops.io.hub import is_repository
from pops.io.pictures import open_picture

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["ATR", "FolderPerson", "HubPerson", "Person", "read_persons"]

ATR = "mattmdjaga/human_parsing_dataset"
MASK = "_mask"


class Person(Protocol):
    """A record that opens as a picture and a map of labels."""

    @property
    def name(self) -> str:
        """What tells it from the others."""

    def open(self) -> tuple[Image.Image, np.ndarray]:
        """The person as RGB and the labels (H, W) uint8; InputError where they cannot be read."""


@dataclass(frozen=True)
class FolderPerson:
    """A picture and, beside it, a picture of labels."""

    picture: Path
    mask: Path

    @property
    def name(self) -> str:
        return self.picture.stem

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture, self.mask)

    def open(self) -> tuple[Image.Image, np.ndarray]:
        picture = open_picture(self.picture)
        try:
            with Image.open(self.mask, formats=("PNG", "BMP", "TIFF", "GIF", "WEBP")) as mask:
                labels = _labels(mask, str(self.mask))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{self.mask}: cannot be read as a map of labels ({error})") from error
        return picture, _checked(labels, picture, str(self.mask))


@dataclass(frozen=True)
class HubPerson:
    """A row of a dataset of the hub."""

    dataset: Dataset
    row: int

    @property
    def name(self) -> str:
        return f"row {self.row}"

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def open(self) -> tuple[Image.Image, np.ndarray]:
        try:
            row: dict[str, Any] = self.dataset[self.row]
            picture = open_picture(row["image"])
            labels = _labels(row["mask"], self.name)
        except (OSError, SyntaxError, ValueError, AttributeError) as error:
            raise InputError(f"{self.name} of the dataset cannot be read ({error})") from error
        return picture, _checked(labels, picture, self.name)


def read_persons(place: str) -> Sequence[FolderPerson | HubPerson]:
    """The persons of a folder, or of a dataset of the hub.

    Raises:
        DataError: there are none, or the hub or the package `datasets` is missing.
    """
    folder = Path(place).expanduser()
    if folder.is_dir() and not (folder / "dataset_info.json").is_file():
        return _folder_persons(place)
    if not folder.is_dir() and not is_repository(place):
        folder_of(place)  # says that there is no such folder
    dataset = _open_dataset(place)
    missing = {"image", "mask"} - set(dataset.column_names)
    if missing or not len(dataset):
        raise DataError(f"{place} has no rows with the columns image and mask")
    return [HubPerson(dataset, row) for row in range(len(dataset))]


def _folder_persons(place: str) -> list[FolderPerson]:
    by_stem = {path.stem: path for path in find_pictures(folder_of(place))}
    found = [
        FolderPerson(path, by_stem.get(stem + MASK, path.with_name(f"{stem}{MASK}.png")))
        for stem, path in by_stem.items()
        if not stem.endswith(MASK)
    ]
    if not found:
        raise DataError(f"{place} holds no sample of this kind: none is a NAME.jpg with NAME_mask")
    return found


def _open_dataset(place: str) -> Dataset:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{place} is read by the package datasets, which is not here: "
            f"{install_hint('train')}, or give a folder of pictures and masks"
        ) from error
    try:
        if Path(place).expanduser().is_dir():
            return datasets.load_from_disk(str(Path(place).expanduser()))
        size = "about 0.8 GB, " if place == ATR else ""
        print(
            f"reading {place} of the hub ({size}licence: see the hub) into "
            f"{datasets.config.HF_DATASETS_CACHE}, unless it is there",
            file=sys.stderr,
        )
        _check_reachable(place, Path(datasets.config.HF_DATASETS_CACHE))
        return datasets.load_dataset(place, split="train")
    except DataError:
        raise
    except Exception as error:  # the package raises almost anything on a missing or odd dataset
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{place} cannot be read as a dataset ({reason[:200]})") from error


def _check_reachable(place: str, cache: Path) -> None:
    """Say at once that no hub is there, which the package would try for half a minute."""
    from huggingface_hub import dataset_info
    from huggingface_hub.errors import HfHubHTTPError

    if (cache / place.replace("/", "___")).is_dir():  # downloaded before
        return
    try:
        dataset_info(place)
    except HfHubHTTPError:  # a hub has answered; `datasets` says what is wrong
        return
    except Exception as error:  # of the hub's client, or of what it talks to the network with
        raise DataError(
            f"{place} cannot be downloaded: no hub is reachable; give a folder of pictures and "
            "masks instead"
        ) from error


def _labels(mask: Image.Image, named: str) -> np.ndarray:
    """The labels as they are stored: a palette gives its numbers, not its colours."""
    labels = np.asarray(mask)
    labels = labels[..., 0] if labels.ndim == 3 else labels
    if labels.max(initial=0) > 17:
        raise InputError(f"{named}: has the label {labels.max()}, but those of ATR go to 17")
    return labels.astype(np.uint8)


def _checked(labels: np.ndarray, picture: Image.Image, named: str) -> np.ndarray:
    if labels.shape != (picture.height, picture.width):
        raise InputError(f"{named}: {labels.shape} is no map of {picture.size[::-1]} pixels")
    return labels
