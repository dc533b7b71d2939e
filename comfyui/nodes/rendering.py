"""Render."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from pops.engine import Engine
from pops.settings.fields import MOST_SIZE, MOST_STEPS
from pops.settings.rendering import RenderSettings

from ..values import as_embeddings, as_image, embeddings_input, seed_inputs, seeds_from, stack_input
from ..work import Bar, make_room

__all__ = ["Render"]


class Render(io.ComfyNode):
    """Render embeddings by the decoder of the stack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsRender",
            display_name="Render (pOps)",
            category="pops",
            description="Makes a picture of each embedding with the stack's own decoder, which is "
            "Kandinsky 2.2's. For SDXL and others see the nodes that hand embeddings on.",
            inputs=[
                stack_input(),
                embeddings_input("embeddings"),
                *seed_inputs(RenderSettings.seeds[0]),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=MOST_STEPS,
                    tooltip="Diffusion steps; 0 is the decoder's own number (50 in Kandinsky 2.2).",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.5,
                    tooltip="The scale of guidance; 0 is the decoder's own (4 in Kandinsky 2.2), "
                    "1 uses none.",
                ),
                io.Int.Input(
                    "size",
                    default=0,
                    min=0,
                    max=MOST_SIZE,
                    step=64,
                    tooltip="The pixels of a side; 0 is the decoder's own (512 in Kandinsky 2.2).",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="All variations of the first embedding, then of the next.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        stack: Engine,
        embeddings: Any,
        seed: int,
        variations: int,
        steps: int,
        guidance: float,
        size: int,
    ) -> io.NodeOutput:
        """Render every embedding, once with every seed.

        Args:
            stack: the engine.
            embeddings: N embeddings, or pictures, which are encoded and rendered again.
            seed: the first seed.
            variations: the number of seeds.
            steps: the number of diffusion steps; 0 for the decoder's own.
            guidance: the scale of guidance; 0 for the decoder's own.
            size: the pixels of a side; 0 for the decoder's own.

        Returns:
            Pictures (N * variations, size, size, 3).

        Raises:
            InputError: the embeddings are of another stack.
            UsageError: the size does not fit the decoder.
        """
        make_room(stack)
        bar = Bar()
        pictures = stack.render(
            as_embeddings(embeddings, "embeddings", stack, bar),
            seeds=seeds_from(seed, variations),
            steps=steps or None,
            guidance=guidance or None,
            size=size or None,
            progress=bar,
        )
        return io.NodeOutput(as_image(pictures))
