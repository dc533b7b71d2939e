"""Batch, pick and split embeddings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from pops.errors import InputError

from ..values import Embeds, as_embeddings, embeddings_input, joined

__all__ = ["BatchEmbeddings", "PickEmbeddings", "SplitEmbeddings"]

NAMES = ("first", "second", "third", "fourth")


class BatchEmbeddings(io.ComfyNode):
    """Put embeddings into one batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsBatchEmbeddings",
            display_name="Batch embeddings (pOps)",
            category="pops/embeddings",
            description="Puts embeddings one after the other into a batch.",
            inputs=[
                embeddings_input(name, optional=at > 0, pictures=False)
                for at, name in enumerate(NAMES)
            ],
            outputs=[Embeds.Output(display_name="embeddings", tooltip="All rows, in order.")],
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        """Join the embeddings.

        Args:
            inputs: the embeddings by the names of the inputs.

        Returns:
            All rows.

        Raises:
            InputError: they are of different stacks or lengths.
        """
        given = {n: as_embeddings(inputs[n], n) for n in NAMES if inputs.get(n) is not None}
        return io.NodeOutput(joined(given))


class PickEmbeddings(io.ComfyNode):
    """Pick some rows of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsPickEmbeddings",
            display_name="Pick embeddings (pOps)",
            category="pops/embeddings",
            description="Takes some rows of a batch of embeddings, such as the variation you like.",
            inputs=[
                embeddings_input("embeddings", pictures=False),
                io.Int.Input(
                    "row", default=0, min=0, max=100_000, tooltip="The first row, counted from 0."
                ),
                io.Int.Input("count", default=1, min=1, max=100_000, tooltip="How many rows."),
            ],
            outputs=[Embeds.Output(display_name="embeddings", tooltip="The rows.")],
        )

    @classmethod
    def execute(cls, embeddings: Any, row: int, count: int) -> io.NodeOutput:
        """Pick the rows.

        Args:
            embeddings: a batch.
            row: the first row.
            count: the number of rows.

        Returns:
            The rows.

        Raises:
            InputError: the batch has no such rows.
        """
        given = as_embeddings(embeddings, "embeddings")
        if row + count > len(given):
            raise InputError(
                f"rows {row} to {row + count - 1} are wanted, but the batch has {len(given)}, "
                "counted from 0"
            )
        return io.NodeOutput(given[row : row + count])


class SplitEmbeddings(io.ComfyNode):
    """Split a batch into a list, on which the nodes that follow work one by one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsSplitEmbeddings",
            display_name="Split embeddings (pOps)",
            category="pops/embeddings",
            description="Makes a list of the rows of a batch: ComfyUI runs the nodes that follow "
            "once for each.",
            inputs=[embeddings_input("embeddings", pictures=False)],
            outputs=[
                Embeds.Output(
                    display_name="embeddings", is_output_list=True, tooltip="A list of single rows."
                )
            ],
        )

    @classmethod
    def execute(cls, embeddings: Any) -> io.NodeOutput:
        """Split the batch.

        Args:
            embeddings: a batch.

        Returns:
            A list of its rows.

        Raises:
            InputError: the input holds no embedding.
        """
        return io.NodeOutput(list(as_embeddings(embeddings, "embeddings")))
