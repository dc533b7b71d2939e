"""Words for prompts, and names for files made of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random

from pops.errors import InputError

__all__ = ["PromptWords", "file_word", "read_words", "shipped_words", "with_article"]

LONGEST_WORD = 60  # of a part of a file name, so that a whole name fits every file system


@dataclass(frozen=True)
class PromptWords:
    """What prompts are made of: things, places for them, and what they can be made from."""

    objects: Sequence[str]
    placements: Sequence[str]
    attributes: Sequence[str]

    def materials(
        self, rng: Random, thing: str, placement: str, count: int, besides: Collection[str] = ()
    ) -> list[list[str]]:
        """`count` different looks of a thing in a place, one to five attributes each.

        `besides`: what it is made of already, which no look is.
        """
        attributes = [word for word in self.attributes if word not in besides]
        looks: list[list[str]] = []
        while len(looks) < count:
            look = rng.sample(attributes, rng.randint(1, min(5, len(attributes))))
            if look not in looks:
                looks.append(look)
        return looks


def read_words(path: Path) -> tuple[str, ...]:
    """A list of words, one a line; of a line with commas, the last field.

    Blank lines and lines that begin with # are left out. The last field is the name in the class
    lists of Open Images (`/m/011k07,Tortoise`).

    Raises:
        InputError: the file cannot be read or holds no words.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    said = (line.rsplit(",", 1)[-1].strip() for line in lines if not line.lstrip().startswith("#"))
    words = tuple(dict.fromkeys(word for word in said if word))
    if not words:
        raise InputError(f"{path} holds no words: write one a line")
    return words


@cache
def shipped_words(name: str) -> tuple[str, ...]:
    """A list that comes with pops: `objects`, `placements` or `attributes`."""
    return read_words(Path(str(files("pops.datagen") / "words" / f"{name}.txt")))


def file_word(text: str) -> str:
    """Words as a part of a file name: small ASCII letters, digits and single dashes.

    Whatever `text` holds, the part names no folder, is not hidden and not empty.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_WORD].strip("-") or "x"


def with_article(noun: str) -> str:
    """The noun with "a" or "an" by its first letter."""
    return f"an {noun}" if noun[:1].lower() in set("aeiou") else f"a {noun}"
