"""Plans of compositions: folders and ranges spread, equal parts shared, operators put in order.

A plan says what is to be done before any of it is: each distinct source is encoded once, each
distinct part is sampled once, and an operator does all that it can in one batch, level by level.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path

from PIL import Image

from pops.compose.calls import FUNCTIONS
from pops.compose.nodes import Apply, Call, Leaf, Node, Sweep, Value, plain_number
from pops.compose.parse import parse
from pops.errors import InputError, UsageError
from pops.io.files import EMBEDDING_SUFFIXES
from pops.io.pictures import open_picture, picture_suffixes
from pops.operators import OPERATORS, Operator

__all__ = [
    "Axis",
    "Plan",
    "Setting",
    "Step",
    "is_range",
    "leaf_name",
    "make_plan",
    "open_leaf",
]

MOST_RESULTS = 100_000  # of a grid
SHOWN_SIZE = (512, 512)  # pixels within which a figure's pictures are kept
Accept = Callable[[Leaf], bool]


# What makes nodes: an operator or a sampled function by name; None for what costs nothing.
Kind = tuple[type, str] | None


@dataclass(frozen=True)
class Step:
    """Nodes that can be made together: all of one operator, of one function, or all sums."""

    kind: Kind
    nodes: tuple[Node, ...]

    @property
    def operator(self) -> str | None:
        """The name of the operator; None where it is a step of functions."""
        return self.kind[1] if self.kind and self.kind[0] is Apply else None


@dataclass(frozen=True)
class Setting:
    """One value of a range.

    Args:
        name: the name of the argument that it is a value of.
        value: the value.
    """

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} {plain_number(self.value)}"


Axis = tuple[Leaf | Setting, ...]


@dataclass(frozen=True)
class Plan:
    """A composition made ready. A part that stands in several places is one node."""

    composition: Node
    axes: tuple[Axis, ...]  # what each folder or range holds, in the order they are written in
    results: tuple[Node, ...]  # one for each combination of the axes, the last axis fastest
    operators: Mapping[str, Operator] = field(default_factory=lambda: OPERATORS, compare=False)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every distinct node of every result, each after those it is made of."""
        found: dict[Node, None] = {}
        for result in self.results:
            _collect(result, found)
        return tuple(found)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The distinct sources."""
        return tuple(node for node in self.nodes if isinstance(node, Leaf))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order: all that can be made of one operator at a time."""
        return tuple(_order(self.nodes))


def make_plan(
    composition: Node | str,
    accept: Accept = lambda leaf: True,
    operators: Mapping[str, Operator] = OPERATORS,
) -> Plan:
    """Make a composition ready to run.

    A folder in place of a file stands for each picture and embedding in it that `accept` takes, and
    a range in place of a number for each of its values; each that is written is an axis of its own.

    Args:
        composition: a composition, or its text.
        accept: tells whether a file of a folder is taken.
        operators: the rows of the operators that are known by name.

    Returns:
        The plan.

    Raises:
        UsageError: the text is not a composition, or its grid is beyond `MOST_RESULTS`.
        InputError: a file is missing, or a folder holds nothing to use. Both show the span.
    """
    node = parse(composition, operators) if isinstance(composition, str) else composition
    axes = tuple(_axes(node, accept))
    if prod(map(len, axes)) > MOST_RESULTS:
        sizes = " x ".join(str(len(axis)) for axis in axes)
        raise UsageError(
            f"the folders and ranges make {sizes} results, more than {MOST_RESULTS}: name "
            "fewer files or values"
        )
    if not axes:
        return Plan(node, (), (node,), operators)
    picks = itertools.product(*axes)
    return Plan(node, axes, tuple(_fill(node, iter(pick)) for pick in picks), operators)


def is_range(axis: Axis) -> bool:
    """Tell whether an axis holds the values of a range.

    Args:
        axis: what a folder or a range holds.

    Returns:
        True for a range, false for a folder.
    """
    return isinstance(axis[0], Setting)


def open_leaf(leaf: Leaf) -> Image.Image | None:
    """Open the picture of a leaf, reduced to the size in which figures show it.

    Args:
        leaf: a source of a composition.

    Returns:
        The picture; None for an embedding.

    Raises:
        InputError: it cannot be opened; the error shows its span.
    """
    source = leaf.source
    if isinstance(source, Path) and source.suffix.lower() in EMBEDDING_SUFFIXES:
        return None
    if not isinstance(source, Path | Image.Image):
        return None
    picture = _picture(leaf)
    picture.thumbnail(SHOWN_SIZE)
    return picture


def _picture(leaf: Leaf) -> Image.Image:
    assert isinstance(leaf.source, Path | Image.Image)
    try:
        return open_picture(leaf.source)
    except InputError as error:
        raise error.at(leaf.span) from None


def leaf_name(leaf: Leaf) -> str:
    """Name a leaf, as it is written under its picture.

    Args:
        leaf: a source of a composition.

    Returns:
        The name of its file, without the ending.
    """
    return leaf.source.stem if isinstance(leaf.source, Path) else str(leaf)


def _axes(node: Node, accept: Accept) -> Iterator[Axis]:
    """Find folders and ranges in the order of `_fill`. InputError for a file that is missing."""
    if isinstance(node, Leaf):
        _check_there(node)
        if _is_folder(node):
            yield _files(node, accept)
    for made in node.inputs:
        if made is not None:
            yield from _axes(made, accept)
    for argument in node.arguments:
        yield from _settings(argument.name, argument.value)


def _settings(name: str, value: Value) -> Iterator[Axis]:
    if isinstance(value, Sweep):
        yield tuple(Setting(name, one) for one in value.values)
    elif isinstance(value, tuple):
        for number, one in enumerate(value, start=1):
            yield from _settings(f"{name} {number}", one)


def _check_there(leaf: Leaf) -> None:
    # os.path, since Path raises an error for names that no file can have.
    if isinstance(leaf.source, Path) and not os.path.exists(leaf.source):
        _picture(leaf)  # says what is wrong, and which file is near


def _is_folder(leaf: Leaf) -> bool:
    return isinstance(leaf.source, Path) and os.path.isdir(leaf.source)


def _files(leaf: Leaf, accept: Accept) -> tuple[Leaf, ...]:
    """List the pictures and embeddings of a folder, by name. InputError if there are none."""
    folder, suffixes = Path(str(leaf.source)), {*picture_suffixes(), *EMBEDDING_SUFFIXES}
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {folder}: {reason}").at(leaf.span) from error
    files = [Leaf(path, leaf.span) for path in names if path.name[0] != "." and path.is_file()]
    usable = tuple(file for file in files if accept(file))
    if not usable:
        said = "none of its files can be used" if files else "it holds no picture or embedding"
        raise InputError(f"{folder}: {said}").at(leaf.span)
    return usable


def _fill(node: Node, pick: Iterator[Leaf | Setting]) -> Node:
    """Put one file in the place of each folder of a node, and one value in that of each range."""
    if isinstance(node, Leaf):
        return next(pick) if _is_folder(node) else node  # type: ignore[return-value]
    inputs = tuple(None if made is None else _fill(made, pick) for made in node.inputs)
    values = {one.name: _filled(one.value, pick) for one in node.arguments}
    if isinstance(node, Apply):
        return replace(node, inputs=inputs, **values)  # type: ignore[arg-type]
    arguments = tuple(one._replace(value=values[one.name]) for one in node.arguments)
    return replace(node, inputs=inputs, arguments=arguments)  # type: ignore[arg-type]


def _filled(value: Value, pick: Iterator[Leaf | Setting]) -> Value:
    if isinstance(value, Sweep):
        return next(pick).value  # type: ignore[union-attr]
    return tuple(_filled(one, pick) for one in value) if isinstance(value, tuple) else value


def _collect(node: Node, found: dict[Node, None]) -> None:
    if node in found:
        return
    for made in node.needs:
        _collect(made, found)
    found[node] = None


def _kind(node: Node) -> Kind:
    if isinstance(node, Apply) and node.strength == 1:
        return Apply, node.operator
    if isinstance(node, Call) and FUNCTIONS[node.function].is_sampled:
        return Call, node.function
    return None


def _order(nodes: Sequence[Node]) -> Iterator[Step]:
    """Order the calls by operator: all that is ready of one, as late and as whole as it can be.

    An operator that another one still feeds waits, so that it is loaded once and does more
    together; where operators feed each other, the one that was loaded last goes on.
    """
    number = {node: i for i, node in enumerate(nodes)}
    feeds = [[number[made] for made in node.needs] for node in nodes]
    pending = [i for i, node in enumerate(nodes) if not isinstance(node, Leaf)]
    last: Kind = None
    while pending:
        waits = _waits(pending, feeds, nodes)
        left = set(pending)
        ready = [i for i in pending if not left.intersection(feeds[i])]
        last = _choose([_kind(nodes[i]) for i in ready], waits, last)
        batch = [i for i in ready if _kind(nodes[i]) == last]
        yield Step(last, tuple(nodes[i] for i in batch))
        pending = sorted(left.difference(batch))


def _waits(
    pending: Sequence[int], feeds: Sequence[Sequence[int]], nodes: Sequence[Node]
) -> dict[Kind, set[Kind]]:
    """Find, for each kind of node, the other kinds that something of it still waits for."""
    below: dict[int, set[Kind]] = {}
    waits: dict[Kind, set[Kind]] = {}
    for i in pending:
        fed_by = [j for j in feeds[i] if j in below]
        below[i] = set().union(*(below[j] | {_kind(nodes[j])} for j in fed_by))
        waits.setdefault(_kind(nodes[i]), set()).update(below[i] - {_kind(nodes[i]), None})
    return waits


def _choose(ready: Sequence[Kind], waits: dict[Kind, set[Kind]], last: Kind) -> Kind:
    """Choose sums, which cost nothing, or else an operator that waits for no other."""
    if None in ready:
        return None
    return min(ready, key=lambda kind: (bool(waits[kind]), kind != last, -ready.count(kind)))
