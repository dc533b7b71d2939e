"""The parts of a composition: a tree of sources, operators and functions.

Nothing is opened or run here, and torch is not imported.
"""

from __future__ import annotations

import keyword
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from PIL import Image

from pops.errors import UsageError
from pops.io.names import expand_home

if TYPE_CHECKING:
    from pops.io.sources import Source

__all__ = [
    "FUNCTION_NAMES",
    "LEFT_OUT",
    "MOST_DEPTH",
    "Apply",
    "Argument",
    "Call",
    "Leaf",
    "Node",
    "Number",
    "Span",
    "Sweep",
    "Value",
    "first_leaf",
    "function_name",
    "plain_number",
    "too_deep",
]

LEFT_OUT = "_"
# The rows of the table in pops.compose.functions, which no operator may be called as.
FUNCTION_NAMES = ("text", "mean", "mix", "slerp", "add", "direction", "swap")
MOST_DEPTH = 100  # operators within one another
MOST_PARTS = 10_000  # of a composition written out in full
MOST_VALUES = 1000  # of a range
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
        """Show the line and, under it, a caret; only the part around the span where it is long."""
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
    needs: ClassVar[tuple[Node, ...]] = ()
    arguments: ClassVar[tuple[Argument, ...]] = ()
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


@dataclass(frozen=True)
class Sweep:
    """A range in place of a number: a composition with one is run for each of its values.

    In text it is written `START..STOP:COUNT`.

    Args:
        start: the first value.
        stop: the last value.
        count: the number of values, evenly spaced; 2 or more.

    Raises:
        UsageError: the count is out of range, or the ends are equal or not finite.
    """

    start: float
    stop: float
    count: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop)) or self.start == self.stop:
            raise UsageError(f"{self}: the ends of a range must be finite numbers")
        if not 2 <= self.count <= MOST_VALUES:
            raise UsageError(f"{self}: a range must have from 2 to {MOST_VALUES} values")

    @property
    def values(self) -> tuple[float, ...]:
        """The values in order, rounded to a thousandth of a step: they name files."""
        step = (self.stop - self.start) / (self.count - 1)
        digits = max(0, 3 + math.ceil(-math.log10(abs(step))))
        inner = (round(self.start + step * at, digits) for at in range(1, self.count - 1))
        return (float(self.start), *inner, float(self.stop))

    def __str__(self) -> str:
        return f"{plain_number(self.start)}..{plain_number(self.stop)}:{self.count}"

    __repr__ = __str__


Number: TypeAlias = float | Sweep
Value: TypeAlias = Number | str | tuple["Value", ...]


class Argument(NamedTuple):
    """One thing that a function is given beside its inputs.

    Args:
        name: its name.
        value: a number, a range, a text, or several.
        named: whether it is written with its name.
    """

    name: str
    value: Any  # a Value, which a NamedTuple cannot name
    named: bool = False

    def __str__(self) -> str:
        return f"{self.name}={_written(self.value)}" if self.named else _written(self.value)


def _written(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return repr(str(value)) if isinstance(value, str) else repr(value)


@dataclass(frozen=True, repr=False)
class Apply:
    """An operator and its inputs, None for one that is left out.

    With a strength below 1 it is on the way from its first input to what the whole operator makes.
    """

    operator: str
    inputs: tuple[Node | None, ...]
    text: str | None = None
    strength: Number = 1.0
    depth: int = field(init=False, compare=False)
    parts: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self)

    def __str__(self) -> str:
        arguments = [LEFT_OUT if node is None else str(node) for node in self.inputs]
        if self.text is not None:
            arguments.append(repr(self.text))
        if self.strength != 1:
            arguments.append(f"strength={self.strength!r}")
        return f"{function_name(self.operator)}({', '.join(arguments)})"

    __repr__ = __str__

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The strength, where it is not 1."""
        return (Argument("strength", self.strength, True),) if self.strength != 1 else ()

    @property
    def needs(self) -> tuple[Node, ...]:
        """The nodes that it is computed from: its inputs, or the first of them and the whole."""
        given = tuple(node for node in self.inputs if node is not None)
        return given if self.strength == 1 else (given[0], replace(self, strength=1.0))


@dataclass(frozen=True, repr=False)
class Call:
    """A function of the table in `pops.compose.functions`, its inputs and its other arguments."""

    function: str
    inputs: tuple[Node, ...]
    arguments: tuple[Argument, ...] = ()
    depth: int = field(init=False, compare=False)
    parts: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _measure(self)

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, (*self.inputs, *self.arguments)))})"

    __repr__ = __str__

    @property
    def values(self) -> dict[str, Any]:
        """The arguments by their names."""
        return {argument.name: argument.value for argument in self.arguments}

    @property
    def needs(self) -> tuple[Node, ...]:
        """The nodes that it is computed from: its inputs."""
        return self.inputs


Node: TypeAlias = Leaf | Apply | Call


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
    taken = keyword.iskeyword(plain) or plain in ("", LEFT_OUT, *FUNCTION_NAMES)
    return f"{plain}_" if taken else plain


def plain_number(value: float) -> str:
    """Write a number as short as it can be read back.

    Args:
        value: the number.

    Returns:
        Its digits; those of a whole number without `.0`.
    """
    return repr(float(value)).removesuffix(".0")


def first_leaf(node: Node) -> Leaf | None:
    """Find the first source that a composition is made of.

    Args:
        node: the composition.

    Returns:
        The source; None if every input is left out, or if the first is made from a text.
    """
    first = next(_sources(node), None)
    return first if isinstance(first, Leaf) else None


def _sources(node: Node) -> Iterator[Node]:
    """Walk over the leaves and texts that a composition is made of in the end, in order."""
    if isinstance(node, Leaf) or (isinstance(node, Call) and not node.inputs):
        yield node
    for made in node.inputs:
        if made is not None:
            yield from _sources(made)


def _measure(node: Apply | Call) -> None:
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
    """Find the file of a name, ~ being the home folder: no shell has looked into a quoted name."""
    if not str(name).strip() or "\0" in str(name):
        raise UsageError(f"{str(name)!r} is not the name of a file").at(span)
    return expand_home(name)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _columns(text: str) -> int:
    """Count the columns of a terminal that `text` takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
