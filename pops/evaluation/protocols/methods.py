"""The ways to make a picture of inputs: operators, what they are compared with, and users' own.

Every way is a composition, so that all of them run through the same engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pops.compose.calls import mean, mix, swap
from pops.compose.calls import text as embed_text
from pops.compose.nodes import Apply, Leaf, Node, Sweep
from pops.compose.parse import parse
from pops.datagen.words import with_article
from pops.errors import UsageError, check_known
from pops.evaluation.protocols.inputs import Input
from pops.operators import OPERATORS, Operator

__all__ = [
    "Method",
    "Request",
    "apply_operator",
    "mean_of",
    "mean_with_text",
    "only",
    "read_methods",
    "swap_concept",
]

TEXT = "text"  # stands for the instruction in a user's own composition


@dataclass(frozen=True)
class Request:
    """Inputs by slot, and a text for an operator that takes one."""

    inputs: Mapping[str, Input]
    text: str | None = None

    def leaf(self, slot: str) -> Leaf:
        """Give an input as a part of a composition.

        Args:
            slot: The name of its slot.

        Returns:
            The part.
        """
        return Leaf(self.inputs[slot].path)


Method = Callable[[Request], Node]


def apply_operator(name: str, request: Request) -> Node:
    """Apply an operator to the inputs of a request; slots that are not given are left out.

    Args:
        name: The name of the operator.
        request: The request.

    Returns:
        The composition.
    """
    slots = OPERATORS[name].inputs
    given = (request.leaf(slot) if slot in request.inputs else None for slot in slots)
    return Apply(name, tuple(given), request.text)


def mean_of(request: Request, weight: float | None = None) -> Node:
    """Take the mean of the inputs of a request: what IP-Adapter makes of several pictures.

    Args:
        request: The request.
        weight: The weight of the second of two inputs; None for equal weights of all.

    Returns:
        The composition.
    """
    leaves = [request.leaf(slot) for slot in request.inputs]
    if weight is None:
        return mix(*leaves)
    first, second = leaves
    return mean(first, second, weight)


def mean_with_text(request: Request) -> Node:
    """Take the mean of the input and of the embedding that the base prior makes of the text.

    Args:
        request: The request.

    Returns:
        The composition.
    """
    assert request.text is not None, "the protocol gives a text"
    words = f"{with_article(request.text)} photo"
    return mean(request.leaf("object"), embed_text(words))


def swap_concept(concept: str, request: Request) -> Node:
    """Replace in the first input the concept that words are about by that of the second.

    Args:
        concept: The name of a word list of the stack.
        request: The request.

    Returns:
        The composition.
    """
    first, second = (request.leaf(slot) for slot in request.inputs)
    return swap(first, second, concept)


def only(slot: str, request: Request) -> Node:
    """Give one input as it is.

    Args:
        slot: The name of its slot.
        request: The request.

    Returns:
        The composition.
    """
    return request.leaf(slot)


def read_methods(
    also: str | None, slots: tuple[str, ...], operators: Mapping[str, Operator]
) -> dict[str, Method]:
    """Read the user's own ways to make pictures.

    Args:
        also: `NAME=COMPOSITION; ...`, with the names of slots in place of files and `text` in
            place of the instruction.
        slots: The slots of the protocol.
        operators: The rows of the operators that are known.

    Returns:
        The methods by name.

    Raises:
        UsageError: One has another form, or names no slot.
    """
    found: dict[str, Method] = {}
    for part in filter(None, (text.strip() for text in (also or "").split(";"))):
        name, equals, composition = (piece.strip() for piece in part.partition("="))
        if not (name and equals and composition):
            raise UsageError(
                f"--also takes NAME=COMPOSITION, as in half=mean('{slots[0]}', ...), not {part!r}"
            )
        template = parse(composition, operators)
        _check_slots(template, slots)
        found[name] = partial(_filled, template)
    return found


def _check_slots(node: Node, slots: tuple[str, ...]) -> None:
    if isinstance(node, Leaf):
        check_known("input", str(node.source), slots)
    elif any(isinstance(argument.value, Sweep) for argument in node.arguments):
        raise UsageError(
            "--also: a method makes one picture of a request: write a number in the place of "
            "the range"
        )
    for made in node.inputs:
        if made is not None:
            _check_slots(made, slots)


def _filled(template: Node, request: Request) -> Node:
    """Put the inputs and the text of a request into a composition."""
    if isinstance(template, Leaf):
        assert isinstance(template.source, Path)
        return request.leaf(str(template.source))
    inputs = tuple(made and _filled(made, request) for made in template.inputs)
    changes: dict[str, object] = {"inputs": inputs}
    if isinstance(template, Apply) and template.text == TEXT:
        changes["text"] = request.text
    return replace(template, **changes)  # type: ignore[arg-type]
