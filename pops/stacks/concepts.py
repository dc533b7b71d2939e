"""Word lists that say what a concept is about, such as pattern, for swaps of it.

A list is a text file with one text a line. A stack can bring lists of its own, in the folder
`concepts` beside its `prior`; else those of `pops/stacks/concepts` of its name or, for the others,
of `general`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pops.errors import InputError, UsageError, nearest
from pops.io.formats.schema import read_lines
from pops.io.names import expand_home, shown_files

if TYPE_CHECKING:
    from pops.stacks.stack import Stack

__all__ = ["find_concepts", "read_concept"]

SHIPPED = Path(__file__).parent / "concepts"
GENERAL = "general"


def find_concepts(stack: Stack) -> dict[str, Path]:
    """Find the word lists of a stack.

    Args:
        stack: the stack; nothing of it is loaded.

    Returns:
        The files by name.
    """
    own = expand_home(stack.spec.prior).parent / "concepts"
    shipped = SHIPPED / stack.name
    places = [shipped if shipped.is_dir() else SHIPPED / GENERAL, own]
    return {path.stem: path for place in places for path in shown_files(place.glob("*.txt"))}


def read_concept(stack: Stack, what: str | tuple[str, ...]) -> tuple[str, ...]:
    """Find the texts of a concept.

    Args:
        stack: the stack whose word lists are known by name.
        what: the name of a list; a file of texts, whose name has an ending or a folder; or the
            texts themselves.

    Returns:
        Two or more texts.

    Raises:
        UsageError: there is no such list, or a file holds fewer texts.
        InputError: the file cannot be read.
    """
    if isinstance(what, tuple):
        return tuple(map(str, what))
    known = find_concepts(stack)
    path = known.get(what, expand_home(what))
    # A plain word never names a file, so that a composition from elsewhere cannot read one by it.
    if what not in known and (re.fullmatch(r"\w+", what) or not path.is_file()):
        near = nearest(what, known) or f": the lists of {stack.name} are {', '.join(known)}"
        error = UsageError(f"there is no word list {str(what)!r}{near}; or name a file of texts")
        raise error.at(getattr(what, "span", None))
    texts = read_lines(path, InputError)
    if len(texts) < 2:
        raise UsageError(
            f"{path} holds {len(texts)} texts, but two or more are wanted: write one a line"
        )
    return texts
