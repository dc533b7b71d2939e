"""The functions that a composition may call, in text and in Python: of operators and of a table.

Nothing is opened or run here, and torch is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from pops.compose.calls import FUNCTIONS, as_node, as_number
from pops.compose.nodes import Apply, Node, Number, function_name
from pops.errors import UsageError, nearest
from pops.operators import CLOTHES, INSTRUCT, SCENE, TEXTURING, UNION, Operator

__all__ = [
    "check_strength",
    "clothes",
    "fill_slots",
    "functions",
    "instruct",
    "operator_function",
    "scene",
    "texturing",
    "union",
]


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
        strength = 1.0 if "strength" in names else named.pop("strength", 1.0)
        if row.takes_text and text is None and len(slots) == len(names) + 1:
            text = slots.pop()
        slots = fill_slots(row, slots, named)
        if text is not None and not isinstance(text, str):
            raise UsageError(f"the text of {row.name} must be a quoted text")
        row.check_inputs(len(slots), text)
        nodes = tuple(map(as_node, slots))
        how_far = check_strength(row, strength, nodes)
        return Apply(row.name, nodes, None if text is None else str(text), how_far)

    last = ["text"] * row.takes_text
    apply.__name__ = apply.__qualname__ = function_name(row.name)
    apply.__doc__ = (
        f"The operator {row.name} of ({', '.join(names + last)}), to be run by Engine.run.\n\n"
        "Inputs are pictures, embeddings, files, folders or other compositions; None leaves one "
        "out. strength, from 0 to 1, tells how far the operator goes from its first input."
    )
    return apply


def check_strength(row: Operator, strength: object, inputs: Sequence[object]) -> Number:
    """Check how far an operator goes from its first input.

    Args:
        row: the row of the operator.
        strength: a number from 0 to 1, or a range of such.
        inputs: the inputs, None for one that is left out.

    Returns:
        The strength.

    Raises:
        UsageError: it is no such number, or there is no input that it could begin at.
    """
    how_far = as_number(row.name, "strength", strength, 0, 1)
    if how_far != 1 and all(one is None for one in inputs):
        raise UsageError(f"{row.name}: with a strength, give the input that it begins at")
    return how_far


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
            near = nearest(name, [*names, "strength"]) or f": its inputs are {', '.join(names)}"
            raise UsageError(f"{row.name} has no input {name!r}{near}")
        if names.index(name) in slots:
            raise UsageError(f"{row.name}: {name} is given twice: remove one")
        slots[names.index(name)] = value
    if row.min_inputs is None:  # none may be missing, which their number tells
        return [slots[at] for at in sorted(slots)]
    return [slots.get(at) for at in range(max(slots, default=-1) + 1)]


def functions(operators: Mapping[str, Operator]) -> dict[str, Callable[..., Node]]:
    """Make the functions that a composition may call.

    Args:
        operators: the rows of the operators that are known.

    Returns:
        Those of the operators and those of the table, by the names that they have in a composition.
    """
    own = {function_name(name): operator_function(row) for name, row in operators.items()}
    return {**own, **{name: row.build for name, row in FUNCTIONS.items()}}


texturing = operator_function(TEXTURING)
union = operator_function(UNION)
scene = operator_function(SCENE)
instruct = operator_function(INSTRUCT)
clothes = operator_function(CLOTHES)
