"""Pictures with captions, from which a base prior is trained.

The caption of NAME.jpg is a line of NAME.txt beside it. Without such a file it is the words of the
picture's name, {object}_{placement}_{seed}.jpg, as `pops generate` names pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from pops.data.example import Example
from pops.data.reader import Reader
from pops.data.records.layouts import PictureRecord, read_pictures
from pops.errors import InputError
from pops.io.formats.schema import read_lines
from pops.operators import Operator

__all__ = ["BASE", "CaptionRecord", "make_captioned", "read_captioned"]

# A stack's base prior in the words of operators. It has no slots, and is never applied as one:
# `Engine.text` samples it.
BASE = Operator("base", (), takes_text=True, drop_all=0.1)
MOST_BYTES = 2**20  # of a file of captions


@dataclass(frozen=True, slots=True)
class CaptionRecord:
    """A picture and, where there is one, the file of its captions, one a line."""

    picture: PictureRecord
    lines: Path | None

    @property
    def name(self) -> str:
        """The name that tells the record from the others of its dataset."""
        return self.picture.name

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the record, whether they are there or not."""
        return self.picture.files if self.lines is None else (*self.picture.files, self.lines)

    def captions(self) -> tuple[str, ...]:
        """Read the captions.

        Returns:
            At least one text.

        Raises:
            InputError: The file cannot be read, or has no line.
        """
        if self.lines is None:
            return (self.picture.words,)
        found = read_lines(self.lines, InputError, MOST_BYTES)
        if not found:
            raise InputError(f"{self.lines} holds no caption: write one a line")
        return found


def read_captioned(place: str) -> list[CaptionRecord]:
    """List a record for each picture of a flat folder.

    Args:
        place: The folder of the dataset.

    Returns:
        The records in the order of their names.

    Raises:
        DataError: There is no such folder, or no picture in it.
    """
    pictures = read_pictures(place)
    texts = {path.stem: path for path in pictures[0].picture.parent.glob("*.txt")}
    return [CaptionRecord(one, texts.get(one.name)) for one in pictures]


def make_captioned(record: CaptionRecord, rng: Random, reader: Reader) -> Example:
    """Make an example of a base prior: the target is a picture, the text one of its captions.

    Args:
        record: A picture with captions.
        rng: The generator of all random choices.
        reader: What opens the files of the record.

    Returns:
        The example, with no condition dropped.

    Raises:
        InputError: A file cannot be read.
    """
    caption = rng.choice(reader.once("captions", record.captions))
    return Example(reader.picture(record.picture.picture), (), caption, target_text=caption)
