"""The request of `pops apply`: files, texts, and what is left out, for one operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from pops.cli.outputs import DEPTH_NEEDED, keeps_depth
from pops.cli.steps import Input
from pops.compose.calls import text as made_from
from pops.compose.functions import fill_slots, operator_function
from pops.compose.nodes import LEFT_OUT, Call, Leaf
from pops.compose.plan import Plan
from pops.errors import UsageError
from pops.io.names import expand_home
from pops.operators import Operator
from pops.settings.commands import ApplyConfig
from pops.settings.flags.parsing import unknown_flag

__all__ = ["depth_source", "read_request", "request_plan"]


def read_request(operator: Operator, config: ApplyConfig) -> tuple[Input, ...]:
    """Read the inputs, which are given by position or by the names of the operator's slots.

    Args:
        operator: the row of the operator.
        config: the settings of the command.

    Returns:
        The inputs in the order of the slots.

    Raises:
        UsageError: they do not fit the slots.
    """
    slots = [slot.replace("-", "_") for slot in operator.inputs]
    for name, place in config.slots.items():
        if name not in slots:
            flags = [one.name for one in fields(config)]
            raise UsageError(f"{unknown_flag(name, [*flags, *slots])} (see pops apply --help)")
        if not isinstance(place, str) or not place:
            raise UsageError(f"--{name} takes a picture, an embedding file or text:WORDS")
    given = fill_slots(operator, config.inputs, config.slots)
    operator.check_inputs(len(given), config.text)
    return tuple(None if one in (None, LEFT_OUT) else _input(str(one)) for one in given)


def _input(given: str) -> Path | Call:
    """Read a file, or a text that is given as `text:WORDS`."""
    kind, colon, words = given.partition(":")
    return made_from(words.strip()) if kind == "text" and colon else expand_home(given)


def request_plan(operator: Operator, request: Sequence[Input], config: ApplyConfig) -> Plan:
    """Make a composition of one operator.

    Args:
        operator: the row of the operator.
        request: its inputs in the order of its slots.
        config: the settings of the command.

    Returns:
        The composition, ready to run.
    """
    nodes = [Leaf(source) if isinstance(source, Path) else source for source in request]
    text = {} if config.text is None else {"text": config.text}
    node = operator_function(operator)(*nodes, **text, strength=config.strength)
    return Plan(node, (), (node,), {operator.name: operator})


def depth_source(request: Sequence[Input], config: ApplyConfig) -> Path | None:
    """Find the picture whose depth is kept.

    Args:
        request: the inputs in the order of the slots.
        config: the settings of the command.

    Returns:
        The first input; None where the renderer keeps no depth.

    Raises:
        UsageError: the first input is left out, or made from a text.
    """
    if not keeps_depth(config.renderer):
        return None
    if not isinstance(request[0], Path):
        raise UsageError(DEPTH_NEEDED.format(config.renderer))
    return request[0]
