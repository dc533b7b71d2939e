"""One node for each operator, made from its row of the table."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from pops.compose.nodes import Apply, Leaf
from pops.engine import Engine
from pops.errors import InputError
from pops.operators import Operator
from pops.settings.fields import MOST_STEPS
from pops.settings.sampling import SAMPLERS, SamplingSettings

from ..values import (
    Embeds,
    as_embeddings,
    embeddings_input,
    paired,
    seed_inputs,
    stack_input,
)
from ..work import Bar, make_room, run_rows

__all__ = ["operator_node", "sampling_inputs", "slot_names"]


def sampling_inputs(
    guidance: float = 0.0,
    tooltip: str = "How strongly the result follows the inputs; 0 is the operator's own.",
) -> list[io.Input]:
    """Declare the inputs for how embeddings are sampled.

    Args:
        guidance: the guidance where nothing else is asked for.
        tooltip: what the guidance does.

    Returns:
        Seeds, guidance, steps and sampler.
    """
    return [
        *seed_inputs(SamplingSettings.seeds[0]),
        io.Float.Input(
            "guidance",
            default=guidance,
            min=0.0,
            max=100.0,
            step=0.5,
            tooltip=tooltip,
        ),
        io.Int.Input(
            "steps",
            default=SamplingSettings.steps,
            min=1,
            max=MOST_STEPS,
            tooltip="Sampling steps; fewer are faster.",
        ),
        io.Combo.Input(
            "sampler",
            options=list(SAMPLERS),
            default=SamplingSettings.sampler,
            tooltip="How the steps are taken; the first is the published one.",
        ),
    ]


def slot_names(row: Operator) -> dict[str, str]:
    """Name the inputs of a node after the slots of its operator.

    Args:
        row: its row of the table.

    Returns:
        By the names of the inputs those of the slots; they are the same but where the node has
        another input of that name, as it can be with an operator of your own.
    """
    taken = {"stack", "text", "strength", *(one.id for one in sampling_inputs())}
    named: dict[str, str] = {}
    for slot in row.inputs:
        name = slot
        while name in taken:
            name += "_"
        taken.add(name)
        named[name] = slot
    return named


def operator_node(row: Operator) -> type[io.ComfyNode]:
    """Make the node of an operator.

    Args:
        row: its row of the table.

    Returns:
        The class of the node.
    """
    return type(f"Pops_{row.name}", (_OperatorNode,), {"row": row, "__doc__": _told(row)})


class _OperatorNode(io.ComfyNode):
    """Apply the operator of a row; only classes made from this one are nodes."""

    row: Operator

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        row = cls.row
        optional = row.min_inputs is not None
        slots = [
            embeddings_input(name, f"The {slot} of {row.name}.", optional=optional)
            for name, slot in slot_names(row).items()
        ]
        text = io.String.Input(
            "text",
            multiline=True,
            dynamic_prompts=True,
            default="",
            placeholder="a rusty one",
            tooltip=f"The text of {row.name}, the same for all rows.",
        )
        strength = io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How far the operator goes from its first input: 0 is that input, 1 is all of "
            "the operator.",
        )
        return io.Schema(
            node_id=f"PopsOperator_{row.name}",
            display_name=f"{row.name.replace('-', ' ').capitalize()} (pOps)",
            category="pops/operators",
            description=_told(row),
            inputs=[
                stack_input(),
                *slots,
                *([text] * row.takes_text),
                strength,
                *sampling_inputs(),
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
        cls, stack: Engine, strength: float, text: str | None = None, **inputs: Any
    ) -> io.NodeOutput:
        """Apply the operator to every row of the inputs, once with every seed.

        Args:
            stack: the engine.
            strength: how far the operator goes from its first input, from 0 to 1.
            text: the text, where the operator takes one.
            inputs: those of the slots by name, and those of `sampling_inputs`.

        Returns:
            Embeddings (rows * variations, D).

        Raises:
            InputError: an input is of another stack, batches do not fit, or nothing is connected.
        """
        make_room(stack)
        bar = Bar()
        names = slot_names(cls.row)
        slots = {name: inputs.pop(name, None) for name in names}
        given = paired(
            {
                name: as_embeddings(value, name, stack, bar)
                for name, value in slots.items()
                if value is not None
            }
        )
        if not given:
            raise InputError(f"{cls.row.name} has no input: connect one or more of its slots")
        rows = [
            Apply(
                cls.row.name,
                tuple(Leaf(given[name][at]) if name in given else None for name in names),
                text,
                strength,
            )
            for at in range(len(next(iter(given.values()))))
        ]
        return io.NodeOutput(run_rows(stack, rows, bar, **inputs))


def _told(row: Operator) -> str:
    """Write the description of an operator's node."""
    inputs = [*row.inputs, *(["text"] * row.takes_text)]
    few = "any of " if row.min_inputs is not None else ""
    return f"Applies the operator {row.name} to {few}{', '.join(inputs)}."
