"""The words of prompts, and the names of files that are made of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random

from pops.data.word_lists import read_word_list
from pops.errors import InputError

__all__ = ["PromptWords", "file_word", "read_prompt_words", "shipped_words", "with_article"]

LONGEST_WORD = 60  # letters of a part of a file name, so that the whole fits every file system


@dataclass(frozen=True)
class PromptWords:
    """The words of prompts: things, places for them, and materials and looks of things."""

    objects: Sequence[str]
    placements: Sequence[str]
    attributes: Sequence[str]

    def materials(
        self, rng: Random, thing: str, placement: str, count: int, besides: Collection[str] = ()
    ) -> list[list[str]]:
        """Draw different looks of a thing in a place, of one to five attributes each.

        Args:
            rng: The generator.
            thing: The thing.
            placement: The place.
            count: The number of looks.
            besides: Attributes that the thing has already, which no look has.

        Returns:
            The attributes of each look.
        """
        attributes = [word for word in self.attributes if word not in besides]
        looks: list[list[str]] = []
        while len(looks) < count:
            look = rng.sample(attributes, rng.randint(1, min(5, len(attributes))))
            if look not in looks:
                looks.append(look)
        return looks


def read_prompt_words(path: Path) -> tuple[str, ...]:
    """Read a list of words, one a line; of a line with commas, the last field.

    Blank lines, repeated words and lines that begin with # are left out. The last field is the name
    in the class lists of Open Images (`/m/011k07,Tortoise`).

    Args:
        path: The file.

    Returns:
        The words in order.

    Raises:
        InputError: The file cannot be read or holds no words.
    """
    fields = (line.rsplit(",", 1)[-1].strip() for line in read_word_list(path))
    words = tuple(dict.fromkeys(word for word in fields if word))
    if not words:
        raise InputError(f"{path} holds no words: write one a line")
    return words


@cache
def shipped_words(name: str) -> tuple[str, ...]:
    """Read a list that comes with pops.

    Args:
        name: `objects`, `placements` or `attributes`.

    Returns:
        The words in order.
    """
    return read_prompt_words(Path(str(files("pops.datagen") / "words" / f"{name}.txt")))


def file_word(text: str) -> str:
    """Turn words into a part of a file name: small ASCII letters, digits and single dashes.

    Args:
        text: Any text.

    Returns:
        The part, which names no folder, is not hidden and is not empty.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_WORD].strip("-") or "x"


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun, by its first letter.

    Args:
        noun: The noun.

    Returns:
        Both.
    """
    return f"an {noun}" if noun[:1].lower() in set("aeiou") else f"a {noun}"
