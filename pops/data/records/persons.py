"""Records of human parsing: a person and a map of labels, from a folder or from the hub.

folder   NAME.jpg  NAME_mask.png, whose values are the labels of ATR: 0 nothing, 1 hat, ...
hub      a dataset of the package `datasets` with the columns image and mask: OWNER/NAME, or a
         folder that its `save_to_disk` has written
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from pops.data.human_parsing import LARGEST_LABEL
from pops.data.records.layouts import Stems, folder_of
from pops.errors import DataError, InputError, install_hint
from pops.io.hub.asking import ask_hub
from pops.io.hub.snapshots import is_repository
from pops.io.names import expand_home
from pops.io.pictures import open_picture

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["ATR", "FolderPerson", "HubPerson", "PersonRecord", "read_persons"]

log = logging.getLogger(__name__)
ATR = "mattmdjaga/human_parsing_dataset"
MASK = "_mask"
MASK_KINDS = ("PNG", "BMP", "TIFF", "GIF", "WEBP")  # formats that keep every label


class PersonRecord(Protocol):
    """A record that opens as a picture and a map of labels."""

    @property
    def name(self) -> str:
        """The name that tells the record from the others."""

    def open(self) -> tuple[Image.Image, np.ndarray]:
        """Open the picture and its labels.

        Returns:
            The person as RGB, and the labels (H, W) uint8.

        Raises:
            InputError: One of them cannot be read, or they do not fit.
        """


@dataclass(frozen=True)
class FolderPerson:
    """A picture and, beside it, a picture of labels."""

    picture: Path
    mask: Path

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return self.picture.stem

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        return (self.picture, self.mask)

    def open(self) -> tuple[Image.Image, np.ndarray]:
        """Open the picture and its labels.

        Returns:
            The person as RGB, and the labels (H, W) uint8.

        Raises:
            InputError: One of them cannot be read, or they do not fit.
        """
        picture = open_picture(self.picture)
        try:
            with Image.open(self.mask, formats=MASK_KINDS) as mask:
                labels = _labels(mask, picture.size)
        except Exception as error:  # Pillow's readers raise almost anything on a damaged file
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.mask} is not a map of labels ({reason})") from error
        return picture, labels


@dataclass(frozen=True)
class HubPerson:
    """A row of a dataset of the hub."""

    dataset: Dataset
    row: int

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return f"row {self.row}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        return ()

    def open(self) -> tuple[Image.Image, np.ndarray]:
        """Open the picture and its labels.

        Returns:
            The person as RGB, and the labels (H, W) uint8.

        Raises:
            InputError: One of them cannot be read, or they do not fit.
        """
        try:
            row: dict[str, Any] = self.dataset[self.row]
            picture = open_picture(row["image"])
            return picture, _labels(row["mask"], picture.size)
        except Exception as error:  # `datasets` and Pillow raise almost anything on damaged rows
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.name} of the dataset cannot be read ({reason})") from error


def read_persons(place: str) -> Sequence[FolderPerson | HubPerson]:
    """List the persons of a folder, or of a dataset of the hub.

    Args:
        place: A folder, or the OWNER/NAME of a dataset.

    Returns:
        The records, in the order of their names or rows.

    Raises:
        DataError: There are none, or the hub or the package `datasets` is missing.
    """
    folder = expand_home(place)
    if folder.is_dir() and not (folder / "dataset_info.json").is_file():
        return _folder_persons(place)
    if not folder.is_dir() and not is_repository(place):
        folder_of(place)  # says that there is no such folder
    dataset = _open_dataset(place)
    missing = {"image", "mask"} - set(dataset.column_names)
    if missing or not len(dataset):
        raise DataError(
            f"{place} holds no rows with the columns image and mask: name another dataset"
        )
    return [HubPerson(dataset, row) for row in range(len(dataset))]


def _folder_persons(place: str) -> list[FolderPerson]:
    stems = Stems.of(folder_of(place))
    found = [
        FolderPerson(path, stems.part(path, MASK, ".png"))
        for path in stems.pictures
        if not path.stem.endswith(MASK)
    ]
    if not found:
        raise DataError(f"{place} holds no sample of this kind: none is a NAME.jpg with NAME_mask")
    return found


def _open_dataset(place: str) -> Dataset:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{place} needs the package datasets, which is not installed: "
            f"{install_hint('train')}, or give a folder of pictures and masks"
        ) from error
    try:
        if expand_home(place).is_dir():
            return datasets.load_from_disk(str(expand_home(place)))
        size = "about 0.8 GB, " if place == ATR else ""
        log.warning(
            "reading %s of the hub (%slicence: see the hub) into %s, unless it is there",
            *(place, size, datasets.config.HF_DATASETS_CACHE),
        )
        _check_reachable(place, Path(datasets.config.HF_DATASETS_CACHE))
        return datasets.load_dataset(place, split="train")
    except DataError:
        raise
    except Exception as error:  # the package raises almost anything on a missing or odd dataset
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{place} cannot be read as a dataset ({reason[:200]})") from error


def _check_reachable(place: str, cache: Path) -> None:
    """Raise at once when no hub can be reached; the package would try for half a minute."""
    from huggingface_hub.errors import HfHubHTTPError

    if (cache / place.replace("/", "___")).is_dir():  # downloaded before
        return
    try:
        ask_hub(place, dataset=True)
    except HfHubHTTPError:  # a hub has answered; `datasets` says what is wrong
        return
    except Exception as error:  # the hub's client and its network library raise almost anything
        raise DataError(
            f"{place} cannot be downloaded: no hub is reachable; give a folder of pictures and "
            "masks instead"
        ) from error


def _labels(mask: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Read the labels (H, W) as they are stored: a palette gives its numbers, not its colours."""
    if mask.size != size:
        raise ValueError(f"it has {mask.size} pixels, but the picture has {size}")
    labels = np.asarray(mask)
    labels = labels[..., 0] if labels.ndim == 3 else labels
    if labels.max(initial=0) > LARGEST_LABEL:
        raise ValueError(
            f"it holds the label {labels.max()}, but those of ATR go up to {LARGEST_LABEL}"
        )
    return labels.astype(np.uint8)
