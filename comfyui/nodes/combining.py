"""Mix, slerp, add and swap: embeddings combined without an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from pops.compose.calls import add, direction, mix, slerp, swap
from pops.compose.nodes import Node
from pops.engine import Engine
from pops.errors import check_known
from pops.stacks.concepts import find_concepts

from ..values import Embeds, as_embeddings, embeddings_input, paired, stack_input
from ..work import Bar, make_room, run_rows

__all__ = ["Add", "Mix", "Slerp", "Swap"]

MIXED = ("first", "second", "third", "fourth")


class Mix(io.ComfyNode):
    """Take the weighted mean of embeddings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        weights = [
            io.Float.Input(
                f"{name}_weight",
                default=1.0,
                min=0.0,
                max=100.0,
                step=0.1,
                tooltip=f"The weight of the {name}; weights are divided by their sum.",
            )
            for name in MIXED
        ]
        inputs = [embeddings_input(name, optional=at > 1) for at, name in enumerate(MIXED)]
        return _schema("Mix", "Takes the weighted mean of embeddings.", [*inputs, *weights])

    @classmethod
    def execute(cls, stack: Engine, **inputs: Any) -> io.NodeOutput:
        """Mix the embeddings, row by row.

        Args:
            stack: the engine.
            inputs: the embeddings and their weights by name.

        Returns:
            The means.

        Raises:
            InputError: batches do not fit.
            UsageError: all weights are 0.
        """
        given = {name: inputs[name] for name in MIXED if inputs.get(name) is not None}
        weights = [inputs[f"{name}_weight"] for name in given]
        return _combined(stack, given, lambda *rows: mix(*rows, weights=weights))


class Slerp(io.ComfyNode):
    """Go from one embedding to another on an arc."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        steps = io.Int.Input(
            "frames",
            default=1,
            min=1,
            max=1000,
            tooltip="1 gives the embedding at `t`; more give as many from the first to the second, "
            "both with them, for a transition.",
        )
        return _schema(
            "Slerp",
            "Goes from one embedding to another on an arc, so that nothing fades between them.",
            [
                embeddings_input("first"),
                embeddings_input("second"),
                io.Float.Input(
                    "t",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far to go: 0 is the first, 1 the second.",
                ),
                steps,
            ],
        )

    @classmethod
    def execute(
        cls, stack: Engine, first: Any, second: Any, t: float, frames: int
    ) -> io.NodeOutput:
        """Interpolate, row by row.

        Args:
            stack: the engine.
            first: where it begins.
            second: where it ends.
            t: how far to go, for a single frame.
            frames: the number of embeddings of each row.

        Returns:
            Embeddings (rows * frames, D).

        Raises:
            InputError: batches do not fit.
        """
        at = [t] if frames == 1 else [number / (frames - 1) for number in range(frames)]
        return _combined(stack, {"first": first, "second": second}, *(_at(one) for one in at))


class Add(io.ComfyNode):
    """Add an embedding, or the way from one to another, to embeddings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return _schema(
            "Add",
            "Adds what is special about an embedding to another; or, where `start` is connected, "
            "the way from `start` to `end`: a mug plus (striped minus plain).",
            [
                embeddings_input("embeddings"),
                embeddings_input("end", "What is added."),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How much of it; below 0 takes it away.",
                ),
                embeddings_input("start", "Where the way begins.", optional=True),
            ],
        )

    @classmethod
    def execute(
        cls, stack: Engine, embeddings: Any, end: Any, amount: float, start: Any = None
    ) -> io.NodeOutput:
        """Add, row by row.

        Args:
            stack: the engine.
            embeddings: what is added to.
            end: what is added, or where the way ends.
            amount: how much of it.
            start: where the way begins; None for none.

        Returns:
            The sums.

        Raises:
            InputError: batches do not fit.
        """
        given = {"embeddings": embeddings, "end": end}
        if start is None:
            return _combined(stack, given, lambda a, b: add(a, b, amount))
        given["start"] = start
        return _combined(stack, given, lambda a, b, from_: add(a, direction(from_, b), amount))


class Swap(io.ComfyNode):
    """Replace what texts are about in embeddings by that of others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return _schema(
            "Swap",
            "Replaces one concept in an embedding, such as its pattern, by that of another "
            "embedding, and keeps the rest.",
            [
                embeddings_input("embeddings", "What is changed."),
                embeddings_input("source", "Where the concept is taken from."),
                io.String.Input(
                    "concept",
                    default="pattern",
                    multiline=True,
                    tooltip="The name of a word list of the stack, such as pattern, material, "
                    "colour or background; or two or more texts that vary the concept, one a line.",
                ),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="How many directions are replaced; 0 is as many as the texts need.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, stack: Engine, embeddings: Any, source: Any, concept: str, rank: int
    ) -> io.NodeOutput:
        """Swap, row by row.

        Args:
            stack: the engine.
            embeddings: what is changed.
            source: where the concept is taken from.
            concept: the name of a word list, or texts, one a line.
            rank: the number of directions; 0 for the stack's own.

        Returns:
            The embeddings with the concept replaced.

        Raises:
            InputError: batches do not fit.
            UsageError: there is no such word list.
        """
        texts = [line.strip() for line in concept.splitlines() if line.strip()]
        if len(texts) < 2:  # a name: of a list alone, since a workflow may not name any file
            check_known("word list", "".join(texts), find_concepts(stack.stack))
        what = texts if len(texts) > 1 else texts[0]
        return _combined(
            stack,
            {"embeddings": embeddings, "source": source},
            lambda a, b: swap(a, b, what, rank=rank or None),
        )


def _schema(name: str, says: str, inputs: list[io.Input]) -> io.Schema:
    return io.Schema(
        node_id=f"Pops{name}",
        display_name=f"{name} (pOps)",
        category="pops/embeddings",
        description=says,
        inputs=[stack_input(), *inputs],
        outputs=[Embeds.Output(display_name="embeddings", tooltip="One row a row of the inputs.")],
    )


def _at(t: float) -> Callable[..., Node]:
    return lambda a, b: slerp(a, b, t)


def _combined(
    engine: Engine, inputs: dict[str, Any], *functions: Callable[..., Node]
) -> io.NodeOutput:
    """Give what the functions make of every row: all of the first row, then of the next."""
    make_room(engine)
    bar = Bar()
    given = paired(
        {name: as_embeddings(value, name, engine, bar) for name, value in inputs.items()}
    )
    rows = [
        function(*(one[at] for one in given.values()))
        for at in range(len(next(iter(given.values()))))
        for function in functions
    ]
    return io.NodeOutput(run_rows(engine, rows, bar))
