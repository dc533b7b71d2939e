"""Compositions: operators applied to what operators made, read from text or built in Python.

    scene(texturing('mug.jpg', 'wood.jpg'), 'beach.jpg')

is the same as text, for `parse`, and as a line of Python, for the functions of this module. Either
gives a tree of `Leaf` (a picture or an embedding), `Apply` (an operator) and `Mean`; an input that
is left out is None, `_` in text. Nothing is opened or run here, and torch is not imported.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from pops.compose.nodes import (
    LEFT_OUT,
    MOST_DEPTH,
    Apply,
    Leaf,
    Mean,
    Node,
    Span,
    function_name,
    too_deep,
)
from pops.errors import PopsError, UsageError, nearest
from pops.operators import CLOTHES, INSTRUCT, OPERATORS, SCENE, TEXTURING, UNION, Operator

__all__ = [
    "clothes",
    "fill_slots",
    "functions",
    "instruct",
    "mean",
    "operator_function",
    "parse",
    "scene",
    "texturing",
    "union",
]

LONGEST_TEXT = 100_000  # letters


# The functions: what a composition calls, in text and in Python.


def mean(a: object, b: object, weight: object = 0.5) -> Mean:
    """Take the mean of two embeddings.

    Args:
        a: a picture, an embedding, a file, a folder or another composition.
        b: another one.
        weight: the weight of `b`, from 0 to 1: 0 gives `a`, 1 gives `b`.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: an input is left out, or the weight is out of range.
    """
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise UsageError("the weight of mean, that of its second input, is a number from 0 to 1")
    first, second = _node(a), _node(b)
    if first is None or second is None:
        raise UsageError("mean needs both of its inputs: none can be left out")
    return Mean((first, second), float(weight))


@cache
def operator_function(row: Operator) -> Callable[..., Apply]:
    """Make the function that gives inputs to an operator, by position or by the names of its slots.

    Args:
        row: the row of the operator.

    Returns:
        A function that makes the part of a composition.
    """
    names = [slot.replace("-", "_") for slot in row.inputs]

    def apply(*inputs: object, **named: object) -> Apply:
        slots, text = list(inputs), named.pop("text", None)
        if row.takes_text and text is None and len(slots) == len(names) + 1:
            text = slots.pop()
        slots = fill_slots(row, slots, named)
        if text is not None and not isinstance(text, str):
            raise UsageError(f"the text of {row.name} is a quoted text")
        row.check_inputs(len(slots), text)
        return Apply(row.name, tuple(map(_node, slots)), None if text is None else str(text))

    last = ["text"] * row.takes_text
    apply.__name__ = apply.__qualname__ = function_name(row.name)
    apply.__doc__ = (
        f"The operator {row.name} of ({', '.join(names + last)}), to be run by Engine.run.\n\n"
        "Inputs are pictures, embeddings, files, folders or other compositions; None leaves one "
        "out."
    )
    return apply


def fill_slots(row: Operator, given: Sequence[object], named: Mapping[str, object]) -> list[object]:
    """Put inputs that are given by position and by name in the order of an operator's slots.

    Args:
        row: the row of the operator.
        given: the inputs that are given by position.
        named: the inputs that are given by the name of their slot, with `_` for `-`.

    Returns:
        The inputs in order, None for one between them that is left out, where the operator
        allows it.

    Raises:
        UsageError: a name is not that of a slot, or its slot is given by position, too.
    """
    names = [slot.replace("-", "_") for slot in row.inputs]
    slots = dict(enumerate(given))
    for name, value in named.items():
        if name not in names:
            near = nearest(name, names) or f": its inputs are {', '.join(names)}"
            raise UsageError(f"{row.name} has no input {name!r}{near}")
        if names.index(name) in slots:
            raise UsageError(f"{row.name}: {name} is given twice")
        slots[names.index(name)] = value
    if row.min_inputs is None:  # none may be missing, which their number tells
        return [slots[at] for at in sorted(slots)]
    return [slots.get(at) for at in range(max(slots, default=-1) + 1)]


def _node(value: object) -> Node | None:
    """Take what a function is given as a node: nodes as they are, sources as leaves."""
    if value is None or isinstance(value, Leaf | Apply | Mean):
        return value
    embedding = hasattr(value, "image_embeds") or hasattr(value, "detach")
    if isinstance(value, str | Path | Image.Image) or embedding:
        span = value.span if isinstance(value, _Quoted) else None
        return Leaf(value, span)  # type: ignore[arg-type]
    raise UsageError(
        f"{value!r} is no input: give a picture, an embedding, a file, or another composition"
    )


def functions(operators: Mapping[str, Operator]) -> dict[str, Callable[..., Node]]:
    """Make the functions that a composition may call.

    Args:
        operators: the rows of the operators that are known.

    Returns:
        A function for each operator and `mean`, by the names that they have in a composition.
    """
    own = {function_name(name): operator_function(row) for name, row in operators.items()}
    return {**own, "mean": mean}


texturing = operator_function(TEXTURING)
union = operator_function(UNION)
scene = operator_function(SCENE)
instruct = operator_function(INSTRUCT)
clothes = operator_function(CLOTHES)


# Reading.


def parse(text: str, operators: Mapping[str, Operator] = OPERATORS) -> Node:
    """Read a composition from a text; it is read part by part and never evaluated.

    Args:
        text: the composition.
        operators: the rows of the operators that it may use.

    Returns:
        The tree that the text describes.

    Raises:
        UsageError: it is no composition; the error's `span` shows where, with a caret.
    """
    text = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise UsageError("the composition is empty: write, say, texturing('mug.jpg', 'wood.jpg')")
    if len(text) > LONGEST_TEXT:
        raise UsageError(f"the composition is longer than {LONGEST_TEXT} letters")
    lines = text.split("\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, as in 'C:\dir'
            body = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _unreadable(error, lines) from None
    except (ValueError, RecursionError, MemoryError) as error:
        deep = not isinstance(error, ValueError)
        raise UsageError(too_deep() if deep else f"cannot read the composition: {error}") from None
    reader = _Reader(lines, functions(operators))
    with reader.at(body):
        made = _node(reader.argument(body))
        if made is None:
            raise UsageError(f"a composition cannot be {LEFT_OUT} alone")
    return made


class _Quoted(str):
    """A quoted text of a composition, which knows where it stands."""

    span: Span


@dataclass
class _Reader:
    """Turns the syntax tree into nodes: an allow-list, so what is not named here is refused."""

    lines: list[str]
    functions: Mapping[str, Callable[..., Node]]
    depth: int = 0

    def argument(self, tree: ast.expr) -> Node | _Quoted | float | None:
        if isinstance(tree, ast.Name) and tree.id == LEFT_OUT:
            return None
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            return self.call(tree, tree.func)
        value = tree.value if isinstance(tree, ast.Constant) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if isinstance(value, str):
            quoted = _Quoted(value)
            quoted.span = self.span(tree)
            return quoted
        raise UsageError(self.refusal(tree)).at(self.span(tree))

    def call(self, tree: ast.Call, name: ast.Name) -> Node:
        with self.at(name):
            function = self.find_function(name.id)
        if self.depth >= MOST_DEPTH:
            raise UsageError(too_deep()).at(self.span(tree))
        self.depth += 1
        inputs = [self.argument(argument) for argument in tree.args]
        named: dict[str, Any] = {}
        for keyword in tree.keywords:
            if keyword.arg is None or keyword.arg in named:
                twice = f"{keyword.arg} is given twice" if keyword.arg else self.refusal(tree)
                raise UsageError(twice).at(self.span(keyword))
            named[keyword.arg] = self.argument(keyword.value)
        self.depth -= 1
        with self.at(tree):
            return _call(function, inputs, named)

    def find_function(self, name: str) -> Callable[..., Node]:
        if name not in self.functions:
            near = nearest(name, self.functions)
            known = f": the operators are {', '.join(self.functions)}"
            raise UsageError(f"unknown operator {name!r}{near or known}")
        return self.functions[name]

    def refusal(self, tree: ast.expr) -> str:
        said = " ".join((ast.get_source_segment("\n".join(self.lines), tree) or "").split())
        said = said if len(said) <= 40 else said[:37] + "..."
        if isinstance(tree, ast.Name | ast.Attribute | ast.BinOp) and "(" not in said:
            return f"{said} is not allowed: file names are quoted, as in '{said}'"
        return (
            f"{said} is not allowed: a composition is made of operators, quoted file names and "
            f"texts, numbers, and {LEFT_OUT} for an input left out"
        )

    def span(self, tree: ast.expr | ast.keyword) -> Span:
        line = self.lines[tree.lineno - 1]
        before = line.encode("utf-8", "surrogatepass")[: tree.col_offset]  # offsets are in bytes
        return Span(line, len(before.decode("utf-8", "replace")))

    @contextmanager
    def at(self, tree: ast.expr) -> Iterator[None]:
        """Errors that have no span yet get that of `tree`."""
        try:
            yield
        except PopsError as error:
            raise (error if error.span else error.at(self.span(tree))) from None


def _call(function: Callable[..., Node], inputs: Sequence[Any], named: Mapping[str, Any]) -> Node:
    """The call; where the function's own parameters do not fit it, a UsageError names them."""
    signature = inspect.signature(function)
    try:
        signature.bind(*inputs, **named)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise UsageError(f"{function.__name__} takes ({names}): {error}") from None
    return function(*inputs, **named)


def _unreadable(error: SyntaxError, lines: Sequence[str]) -> UsageError:
    """Python's own words on what it cannot read, and where."""
    line = lines[min(max(error.lineno or 1, 1), len(lines)) - 1]
    column = min(max((error.offset or 1) - 1, 0), len(line))
    deep = "too many nested" in error.msg
    said = too_deep() if deep else f"cannot read the composition: {error.msg}"
    return UsageError(said).at(Span(line, column))
