"""The parts of a composition: a tree of sources, operators and means.

Nothing is opened or run here, and torch is not imported.
"""

from __future__ import annotations

import keyword
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from PIL import Image

from pops.errors import UsageError
from pops.io.names import expand_home

if TYPE_CHECKING:
    from pops.io.sources import Source

__all__ = [
    "LEFT_OUT",
    "MOST_DEPTH",
    "Apply",
    "Leaf",
    "Mean",
    "Node",
    "Span",
    "first_leaf",
    "function_name",
    "too_deep",
]

LEFT_OUT = "_"
MOST_DEPTH = 100  # operators within one another
MOST_PARTS = 10_000  # of a composition written out in full
EXCERPT = 72  # letters of a line shown around a span


@dataclass(frozen=True)
class Span:
    """A part of the text of a composition, by where it starts, to be shown with an error.

    Args:
        line: the line of the text.
        column: the number of the letter in it, from 0.
    """

    line: str
    column: int

    def __str__(self) -> str:
        """The line and, under it, a caret; only the part around the span where it is long."""
        start = max(0, self.column - EXCERPT // 2)
        before, after = self.line[start : self.column], self.line[self.column : start + EXCERPT]
        more = "..." * (start > 0), "..." * (start + EXCERPT < len(self.line))
        shown = _printable(more[0] + before)
        return f"  {shown}{_printable(after)}{more[1]}\n  {' ' * _columns(shown)}^"


@dataclass(frozen=True, repr=False)
class Leaf:
    """A picture or an embedding: a file, or one already open. Equal files are equal leaves."""

    source: Source = field(compare=False)
    span: Span | None = field(default=None, compare=False)
    key: object = field(init=False)

    inputs: ClassVar[tuple[Node | None, ...]] = ()
    depth: ClassVar[int] = 0
    parts: ClassVar[int] = 1

    def __post_init__(self) -> None:
        key: object = id(self.source)
        if isinstance(self.source, str | Path):
            path = _path(self.source, self.span)
            key = os.path.abspath(path)
            object.__setattr__(self, "source", path)
        object.__setattr__(self, "key", key)

    def __str__(self) -> str:
        made_by: Sequence[str] = getattr(self.source, "expressions", ())
        if len(made_by) == 1:
            return str(made_by[0])
        path = self.source if isinstance(self.source, Path) else None
        path = path or getattr(self.source, "filename", None)
        if path:
            return repr(f"./{path}" if str(path).startswith("~") else str(path))
        return "picture" if isinstance(self.source, Image.Image) else "embedding"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class Apply:
    """An operator and its inputs, None for one that is left out."""

    operator: str
    inputs: tuple[Node | None, ...]
    text: str | None = None
    depth: int = field(init=False, compare=False)
    parts: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self)

    def __str__(self) -> str:
        arguments = [LEFT_OUT if node is None else str(node) for node in self.inputs]
        if self.text is not None:
            arguments.append(repr(self.text))
        return f"{function_name(self.operator)}({', '.join(arguments)})"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class Mean:
    """(1 - weight) a + weight b of two embeddings, on the straight line between them."""

    inputs: tuple[Node, Node]
    weight: float = 0.5  # of the second
    depth: int = field(init=False, compare=False)
    parts: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self)

    def __str__(self) -> str:
        return f"mean({self.inputs[0]}, {self.inputs[1]}, {self.weight!r})"

    __repr__ = __str__


Node: TypeAlias = Leaf | Apply | Mean


def function_name(operator: str) -> str:
    """Give the name of an operator in a composition, where only letters, digits and _ may stand.

    Args:
        operator: the name of the operator.

    Returns:
        The same name where it can be, such as `texturing`; else a like one, as `rusty_iron` for
        `rusty-iron`.
    """
    plain = re.sub(r"\W", "_", operator)
    plain = f"_{plain}" if plain[:1].isdigit() else plain
    return f"{plain}_" if keyword.iskeyword(plain) or plain in ("", LEFT_OUT, "mean") else plain


def first_leaf(node: Node) -> Leaf | None:
    """Find the first source that a composition is made of.

    Args:
        node: the composition.

    Returns:
        The source; None if every input is left out.
    """
    if isinstance(node, Leaf):
        return node
    given = (first_leaf(made) for made in node.inputs if made is not None)
    return next((leaf for leaf in given if leaf is not None), None)


def _measure(node: Apply | Mean) -> None:
    """Set `depth` and `parts`; beyond their limits nothing that walks a tree would be safe."""
    inputs = [made for made in node.inputs if made is not None]
    depth = 1 + max((made.depth for made in inputs), default=0)
    parts = 1 + sum(made.parts for made in inputs)
    if depth > MOST_DEPTH:
        raise UsageError(too_deep())
    if parts > MOST_PARTS:
        raise UsageError(
            f"the composition is too long: more than {MOST_PARTS} parts when written out; "
            "save a part of it as an embedding and use that"
        )
    object.__setattr__(node, "depth", depth)
    object.__setattr__(node, "parts", parts)


def too_deep() -> str:
    """Say that a composition is nested too deeply, and what to do.

    Returns:
        A message.
    """
    return (
        f"the composition is nested too deeply: more than {MOST_DEPTH} within one another; "
        "save an inner part as an embedding and use that"
    )


def _path(name: str | Path, span: Span | None) -> Path:
    """The file of that name, ~ being the home folder: no shell has looked into a quoted name."""
    if not str(name).strip() or "\0" in str(name):
        raise UsageError(f"{str(name)!r} is no file name").at(span)
    return expand_home(name)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _columns(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
