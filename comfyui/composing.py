"""Compose: operators applied to what operators made, written as a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from pops import Embeddings
from pops.compose.nodes import Leaf, Node
from pops.compose.parse import parse
from pops.engine import Engine
from pops.errors import InputError, NotFiniteError
from pops.settings.progress import part_of

from .operators import sampling_inputs
from .values import (
    Embeds,
    as_embeddings,
    embeddings_input,
    joined,
    paired,
    seeds_from,
    stack_input,
)
from .work import Bar, make_room

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
                    "out, and mean('a', 'b', 0.3) is a mean.",
                ),
                *sampling_inputs(),
                *(embeddings_input(name, f"Named '{name}'.", optional=True) for name in NAMES),
            ],
            outputs=[
                Embeds.Output(
                    display_name="embeddings",
                    tooltip="All variations of the first row of the inputs, then of the next.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        stack: Engine,
        expression: str,
        seed: int,
        variations: int,
        guidance: float,
        steps: int,
        sampler: str,
        **inputs: Any,
    ) -> io.NodeOutput:
        """Run the composition for every row of the inputs.

        Args:
            stack: the engine.
            expression: the text of the composition.
            seed: the first seed.
            variations: the number of seeds.
            guidance: the scale of guidance of every operator; 0 for each operator's own.
            steps: the number of sampling steps.
            sampler: the name of a sampler.
            inputs: the inputs by name.

        Returns:
            Embeddings (rows * variations, D).

        Raises:
            UsageError: the text is no composition.
            InputError: an input or a file is missing, or batches do not fit.
            NotFiniteError: a result is not finite.
        """
        tree = parse(expression, stack.stack.operators)
        used = _names(tree)
        make_room(stack)
        bar = Bar()
        given = paired(
            {
                name: as_embeddings(value, name, stack, bar)
                for name, value in inputs.items()
                if value is not None and name in used
            }
        )
        rows = max(map(len, given.values()), default=1)
        made = {}
        for at in range(rows):
            result = stack.run(
                _filled(tree, {name: one[at] for name, one in given.items()}),
                seeds=seeds_from(seed, variations),
                guidance=guidance or None,
                steps=steps,
                sampler=sampler,
                progress=part_of(bar, at, rows),
            )
            if result.lost:
                raise NotFiniteError(next(iter(result.lost.values())))
            made[f"row {at}"] = result.embeddings
        return io.NodeOutput(joined(made))


def _names(node: Node) -> set[str]:
    """The quoted names of a composition."""
    if isinstance(node, Leaf):
        return {str(node.source)}
    return {name for part in node.inputs if part is not None for name in _names(part)}


def _filled(node: Node, given: Mapping[str, Embeddings]) -> Node:
    """The composition with the node's inputs and files in the place of names."""
    if isinstance(node, Leaf):
        name = str(node.source)
        return Leaf(given[name] if name in given else _file(node), node.span)
    inputs = tuple(None if part is None else _filled(part, given) for part in node.inputs)
    return replace(node, inputs=inputs)  # type: ignore[arg-type]


def _file(leaf: Leaf) -> Path:
    """A file of ComfyUI's input folder; no other folder can be reached from a workflow."""
    name = str(leaf.source)
    if name in NAMES:
        raise InputError(f"the composition uses '{name}', but nothing is connected there").at(
            leaf.span
        )
    home = Path(folder_paths.get_input_directory()).resolve()
    path = (home / name).resolve()
    if not path.is_relative_to(home) or not path.exists():
        raise InputError(
            f"'{name}' is no file in ComfyUI's input folder, and no input of the node, which are "
            f"'{NAMES[0]}' to '{NAMES[-1]}'"
        ).at(leaf.span)
    return path
