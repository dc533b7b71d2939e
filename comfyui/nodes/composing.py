"""Compose: operators applied to what operators made, written as a text."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from pops import Embeddings
from pops.compose.nodes import Argument, Call, Leaf, Node, Span
from pops.compose.parse import parse
from pops.engine import Engine
from pops.errors import InputError
from pops.stacks.concepts import find_concepts

from ..values import (
    Embeds,
    as_embeddings,
    embeddings_input,
    paired,
    stack_input,
)
from ..work import Bar, make_room, run_rows
from .operators import sampling_inputs

__all__ = ["Compose"]

NAMES = ("a", "b", "c", "d", "e", "f")


class Compose(io.ComfyNode):
    """Run a composition."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsCompose",
            display_name="Compose (pOps)",
            category="pops",
            description="Runs a composition of operators, such as "
            "scene(texturing('a', 'b'), 'c'), where 'a' to 'f' are the inputs of the node. "
            "Equal parts are made once, and each operator works on all it can at a time.",
            inputs=[
                stack_input(),
                io.String.Input(
                    "expression",
                    multiline=True,
                    default="scene(texturing('a', 'b'), 'c')",
                    tooltip="Operators, quoted names and numbers. 'a' to 'f' are the inputs of the "
                    "node, another name is a file in ComfyUI's input folder, _ leaves an input "
                    "out. There are mean, mix, slerp, add, direction, swap and text, too, and "
                    "0..1:5 is five values from 0 to 1.",
                ),
                *sampling_inputs(),
                *(embeddings_input(name, f"Named '{name}'.", optional=True) for name in NAMES),
            ],
            outputs=[
                Embeds.Output(
                    display_name="embeddings",
                    tooltip="All variations of the first row of the inputs, then of the next; a "
                    "range makes a result of each of its values.",
                )
            ],
        )

    @classmethod
    def execute(cls, stack: Engine, expression: str, **inputs: Any) -> io.NodeOutput:
        """Run the composition for every row of the inputs.

        Args:
            stack: the engine.
            expression: the text of the composition.
            inputs: those with names of a letter, and those of `sampling_inputs`.

        Returns:
            Embeddings (rows * values of ranges * variations, D).

        Raises:
            UsageError: the text is not a composition.
            InputError: an input or a file is missing, or batches do not fit.
            NotFiniteError: a result is not finite.
        """
        tree = parse(expression, stack.stack.operators)
        connected = {name: inputs.pop(name, None) for name in NAMES}
        used = _names(tree)
        make_room(stack)
        bar = Bar()
        given = paired(
            {
                name: as_embeddings(value, name, stack, bar)
                for name, value in connected.items()
                if value is not None and name in used
            }
        )
        known = find_concepts(stack.stack)
        rows = [
            _filled(tree, {name: one[at] for name, one in given.items()}, known)
            for at in range(max(map(len, given.values()), default=1))
        ]
        return io.NodeOutput(run_rows(stack, rows, bar, **inputs))


def _names(node: Node) -> set[str]:
    """List the quoted names of a composition."""
    if isinstance(node, Leaf):
        return {str(node.source)}
    return {name for part in node.inputs if part is not None for name in _names(part)}


def _filled(node: Node, given: Mapping[str, Embeddings], known: Collection[str]) -> Node:
    """Give the composition with the node's inputs and files in the place of names."""
    if isinstance(node, Leaf):
        name = str(node.source)
        if name in NAMES and name not in given:
            raise InputError(f"the composition uses '{name}', but nothing is connected there").at(
                node.span
            )
        return Leaf(given[name] if name in given else _file(name, node.span), node.span)
    inputs = tuple(None if part is None else _filled(part, given, known) for part in node.inputs)
    if isinstance(node, Call):
        arguments = tuple(_with_file(argument, known) for argument in node.arguments)
        return Call(node.function, tuple(part for part in inputs if part is not None), arguments)
    return replace(node, inputs=inputs)


def _with_file(argument: Argument, known: Collection[str]) -> Argument:
    """Give the argument; a file of texts for `swap` is one of the input folder, too."""
    value = argument.value
    if argument.name != "what" or not isinstance(value, str) or value in known:
        return argument
    return argument._replace(value=str(_file(value, getattr(value, "span", None), known)))


def _file(name: str, span: Span | None, known: Collection[str] = ()) -> Path:
    """Find a file of ComfyUI's input folder; no other folder can be reached from a workflow."""
    # Links in it are followed, as ComfyUI follows them: only whoever owns the machine makes them.
    home = Path(os.path.abspath(folder_paths.get_input_directory()))
    path = Path(os.path.abspath(home / name))
    if path.is_relative_to(home) and path.exists():
        return path
    else_it = (
        f"no word list, which are {', '.join(known)}"
        if known
        else f"no input of the node, which are '{NAMES[0]}' to '{NAMES[-1]}'"
    )
    raise InputError(f"'{name}' is not a file in ComfyUI's input folder, and {else_it}").at(span)
