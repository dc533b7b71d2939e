"""Word lists: text files with one entry a line."""

from __future__ import annotations

from pathlib import Path

from pops.errors import InputError
from pops.io.formats.schema import read_lines
from pops.io.names import expand_home

__all__ = ["read_word_list", "read_words"]

MOST_BYTES = 2**26  # bytes of the largest word list
WORDS = Path(__file__).parent / "words"


def read_word_list(path: Path) -> tuple[str, ...]:
    """Read the entries of a text file, without blank lines and lines that begin with #.

    Args:
        path: The file, in UTF-8 with or without a byte-order mark.

    Returns:
        The entries in order, without the spaces around them.

    Raises:
        InputError: The file cannot be read or is not UTF-8.
    """
    return read_lines(expand_home(path), InputError, MOST_BYTES)


def read_words(name: str | Path) -> tuple[str, ...]:
    """Read a word list that comes with pops, or one of the user's own.

    Args:
        name: The name of a list in `pops/data/words`, such as `adjectives`, or a file.

    Returns:
        The words in order.

    Raises:
        InputError: There is no such list or file, or it is not UTF-8.
    """
    shipped = {path.stem: path for path in WORDS.glob("*.txt")}
    try:
        return read_word_list(shipped.get(str(name), Path(name)))
    except InputError as error:
        known = ", ".join(sorted(shipped))
        raise InputError(f"{error}; the word lists of pops are {known}") from error
