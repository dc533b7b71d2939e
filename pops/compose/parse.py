"""Read compositions from text: operators and functions applied to what they made.

    scene(texturing('mug.jpg', 'wood.jpg'), 'beach.jpg')

A text gives the tree that the same line of Python makes with the functions of `functions` and
`calls`. It is read part by part and never evaluated. torch is not imported.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pops.compose.calls import Quoted, as_node
from pops.compose.functions import functions
from pops.compose.nodes import LEFT_OUT, MOST_DEPTH, Node, Span, Sweep, too_deep
from pops.errors import PopsError, UsageError, nearest
from pops.operators import OPERATORS, Operator

__all__ = ["parse"]

LONGEST_TEXT = 100_000  # letters
_NUMBER = r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
# A range outside of quoted texts and comments, which are found first.
_RANGES = re.compile(
    r"'''.*?'''|'(?:\\.|[^'\\\n])*'"
    r'|""".*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*'
    rf"|(?<![\w.])(?P<start>{_NUMBER})\.\.(?P<stop>{_NUMBER})(?::(?P<count>[0-9]+))?",
    re.DOTALL,
)


def parse(text: str, operators: Mapping[str, Operator] = OPERATORS) -> Node:
    """Read a composition from a text; it is read part by part and never evaluated.

    Args:
        text: the composition.
        operators: the rows of the operators that it may use.

    Returns:
        The tree that the text describes.

    Raises:
        UsageError: it is not a composition; the error's `span` shows where, with a caret.
    """
    text = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise UsageError(
            "the composition is empty: write one, as in texturing('mug.jpg', 'wood.jpg')"
        )
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            f"the composition is longer than {LONGEST_TEXT} letters: save a part of it as an "
            "embedding"
        )
    lines = text.split("\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes, as in 'C:\dir'
            body = ast.parse(_RANGES.sub(_covered, text), mode="eval").body
    except SyntaxError as error:
        raise _unreadable(error, lines) from None
    except (ValueError, RecursionError, MemoryError) as error:
        deep = not isinstance(error, ValueError)
        raise UsageError(too_deep() if deep else f"cannot read the composition: {error}") from None
    reader = _Reader(lines, functions(operators), _ranges(text))
    with reader.at(body):
        made = as_node(reader.argument(body))
        if made is None:
            raise UsageError(
                f"a composition cannot be {LEFT_OUT} alone: {LEFT_OUT} stands for an input left out"
            )
    return made


def _covered(match: re.Match[str]) -> str:
    """Cover a range, which Python could not read, by a name of its length; quoted text stays."""
    return match[0] if match["start"] is None else "R" * len(match[0])


def _ranges(text: str) -> dict[tuple[int, int], re.Match[str]]:
    """Find the ranges of a text by line (from 1) and column (from 0, in bytes), as `ast` counts."""
    found = {}
    for match in _RANGES.finditer(text):
        if match["start"] is not None:
            before = text[: match.start()].split("\n")
            found[len(before), len(before[-1].encode("utf-8", "surrogatepass"))] = match
    return found


@dataclass
class _Reader:
    """Turns the syntax tree into nodes: an allow-list, so what is not named here is refused."""

    lines: list[str]
    functions: Mapping[str, Callable[..., Node]]
    ranges: Mapping[tuple[int, int], re.Match[str]]
    depth: int = 0

    def argument(self, tree: ast.expr) -> object:
        if isinstance(tree, ast.Name) and tree.id == LEFT_OUT:
            return None
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            return self.call(tree, tree.func)
        if isinstance(tree, ast.List):
            return [self.value(item) for item in tree.elts]
        return self.value(tree)

    def value(self, tree: ast.expr) -> Quoted | float | Sweep:
        """Read a text, a number or a range."""
        if isinstance(tree, ast.Name) and (tree.lineno, tree.col_offset) in self.ranges:
            with self.at(tree):
                return _sweep(self.ranges[tree.lineno, tree.col_offset])
        is_negative = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub)
        of = tree.operand if isinstance(tree, ast.UnaryOp) and is_negative else tree
        value = of.value if isinstance(of, ast.Constant) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value if is_negative else value
        if isinstance(value, str) and not is_negative:
            quoted = Quoted(value)
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
            known = (
                f": the operators are {', '.join(self.functions)}; --operators names folders "
                "of your own"
            )
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
        """Give errors that have no span yet that of `tree`."""
        try:
            yield
        except PopsError as error:
            raise (error if error.span else error.at(self.span(tree))) from None


def _sweep(match: re.Match[str]) -> Sweep:
    """Read the range that is written; one of whole numbers goes in steps of 1 by itself."""
    start, stop = float(match["start"]), float(match["stop"])
    if match["count"] is None and not (start.is_integer() and stop.is_integer()):
        raise UsageError(f"{match[0]}: say how many values, as in {match[0]}:5")
    count = abs(stop - start) + 1 if match["count"] is None else int(match["count"][:9])
    return Sweep(start, stop, int(count))


def _call(function: Callable[..., Node], inputs: Sequence[Any], named: Mapping[str, Any]) -> Node:
    """Make the call; where the function's own parameters do not fit it, a UsageError names them."""
    signature = inspect.signature(function)
    try:
        signature.bind(*inputs, **named)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise UsageError(f"{function.__name__} takes ({names}): {error}") from None
    return function(*inputs, **named)


def _unreadable(error: SyntaxError, lines: Sequence[str]) -> UsageError:
    """Report, in Python's own words, what it cannot read, and where."""
    line = lines[min(max(error.lineno or 1, 1), len(lines)) - 1]
    column = min(max((error.offset or 1) - 1, 0), len(line))
    deep = "too many nested" in error.msg
    said = too_deep() if deep else f"cannot read the composition: {error.msg}"
    return UsageError(said).at(Span(line, column))
