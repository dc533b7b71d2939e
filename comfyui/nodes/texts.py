"""Encode text."""

from __future__ import annotations

from comfy_api.latest import io

from pops.compose.calls import TEXT_GUIDANCE
from pops.engine import Engine
from pops.settings.fields import MOST_STEPS
from pops.settings.sampling import SAMPLERS, SamplingSettings

from ..values import Embeds, seed_inputs, seeds_from, stack_input
from ..work import Bar, make_room

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
                *seed_inputs(SamplingSettings.seeds[0]),
                io.Float.Input(
                    "guidance",
                    default=TEXT_GUIDANCE,
                    min=0.0,
                    max=100.0,
                    step=0.5,
                    tooltip="How strongly the text counts.",
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
