"""The words that a stack knows, where it was trained on few: others are named before they mislead.

A stack may hold `prior/known.json`; one without it is taken to know any word.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pops.errors import WeightsError, nearest
from pops.io.formats.schema import Meta, Schema, read_json

__all__ = ["KNOWN", "KnownWords", "find_unknown", "read_known", "warn_of_unknown"]

log = logging.getLogger(__name__)

KNOWN = "known.json"
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
SHOWN = 7  # words that a warning gives as examples
Word = Annotated[str, Meta(min_length=1, max_length=100)]


class KnownWords(Schema):
    """`known.json`: all words of the texts that a stack was trained on, and some to suggest."""

    words: Annotated[tuple[Word, ...], Meta(max_length=100_000)]
    examples: Annotated[tuple[Word, ...], Meta(max_length=100)] = ()


def read_known(folder: Path) -> KnownWords | None:
    """Read which words a stack knows.

    Args:
        folder: its folder `prior`.

    Returns:
        The words; None for a stack that does not say.

    Raises:
        WeightsError: the file is damaged.
    """
    path = folder / KNOWN
    return read_json(path, KnownWords, WeightsError) if path.is_file() else None


def find_unknown(known: KnownWords, texts: Iterable[str]) -> list[str]:
    """Find the words that a stack does not know.

    Args:
        known: the words that it knows.
        texts: any texts; small and large letters are the same.

    Returns:
        Each unknown word once, in small letters, in the order of the texts.
    """
    words = (word for text in texts for word in WORD.findall(text.lower()))
    return [word for word in dict.fromkeys(words) if word not in known.words]


def warn_of_unknown(stack: str, known: KnownWords | None, texts: Iterable[str]) -> None:
    """Say in one line of the log which words a stack has never seen, if there are any.

    Args:
        stack: the name of the stack.
        known: the words that it knows; None where it does not say.
        texts: what it is about to encode.
    """
    if known is None or not (unknown := find_unknown(known, texts)):
        return
    hints = {word: nearest(word, known.words).removeprefix(": ") for word in unknown}
    named = ", ".join(f"{word!r}{f' ({hint})' if hint else ''}" for word, hint in hints.items())
    examples = ", ".join((known.examples or known.words)[:SHOWN])
    log.warning(
        "%s has never seen %s: the result may mean nothing; it knows few words, such as %s",
        *(stack, named, examples),
    )
