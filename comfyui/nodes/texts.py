"""Encode text."""

from __future__ import annotations

from comfy_api.latest import io

from pops.compose.calls import TEXT_GUIDANCE
from pops.engine import Engine

from ..values import Embeds, seeds_from, stack_input
from ..work import Bar, make_room
from .operators import sampling_inputs

__all__ = ["EncodeText"]


class EncodeText(io.ComfyNode):
    """Make image embeddings from a text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsEncodeText",
            display_name="Encode text (pOps)",
            category="pops",
            description="Makes the embedding of a picture of what a text says, with the base prior "
            "of the stack, as Kandinsky does; operators take it in the place of a picture.",
            inputs=[
                stack_input(),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    placeholder="a texture of rusty iron",
                    tooltip="What the picture should show.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What it should not show; may be empty.",
                ),
                *sampling_inputs(TEXT_GUIDANCE, "How strongly the text counts."),
            ],
            outputs=[Embeds.Output(display_name="embeddings", tooltip="One row a variation.")],
        )

    @classmethod
    def execute(
        cls,
        stack: Engine,
        text: str,
        negative: str,
        seed: int,
        variations: int,
        guidance: float,
        steps: int,
        sampler: str,
    ) -> io.NodeOutput:
        """Make the embeddings.

        Args:
            stack: the engine.
            text: what the picture should show.
            negative: what it should not show.
            seed: the first seed.
            variations: the number of seeds.
            guidance: the scale of guidance.
            steps: the number of sampling steps.
            sampler: the name of a sampler.

        Returns:
            Embeddings (variations, D).

        Raises:
            UsageError: the text is too long for the text encoder.
        """
        make_room(stack)
        return io.NodeOutput(
            stack.text(
                text,
                negative=negative,
                seeds=seeds_from(seed, variations),
                guidance=guidance,
                steps=steps,
                sampler=sampler,
                progress=Bar(),
            )
        )
