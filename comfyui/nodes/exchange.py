"""Hand embeddings on: to unCLIP and SDXL "revision" conditioning, and to IPAdapter."""

from __future__ import annotations

from typing import Any

import comfy.clip_vision
from comfy_api.latest import io
from torch import Tensor, zeros_like

from pops import Embeddings
from pops.errors import InputError

from ..values import IPAdapterEmbeds, as_embeddings, embeddings_input

__all__ = ["ToClipVision", "ToIPAdapter"]

CLIP_LENGTHS = (512, 640, 768, 1024, 1280)
"""The lengths of the image embeddings of CLIP models, which other models are conditioned on."""


class ToClipVision(io.ComfyNode):
    """Give embeddings as CLIP vision outputs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsToClipVision",
            display_name="To CLIP vision output (pOps)",
            category="pops/embeddings",
            description="Gives embeddings to nodes that take a CLIP_VISION_OUTPUT, such as "
            "unCLIPConditioning: with SDXL this is 'revision', with no adapter at all. Each "
            "embedding is one of a list, so that the nodes that follow make a picture of each.",
            inputs=[embeddings_input("embeddings", pictures=False)],
            outputs=[
                io.ClipVisionOutput.Output(
                    display_name="clip_vision_output",
                    is_output_list=True,
                    tooltip="A list with one output for each embedding. It holds the embedding of "
                    "the whole picture alone: no hidden states, which style models and IPAdapter "
                    "plus want.",
                )
            ],
        )

    @classmethod
    def execute(cls, embeddings: Any) -> io.NodeOutput:
        """Make the outputs.

        Args:
            embeddings: N embeddings.

        Returns:
            A list of N CLIP vision outputs.

        Raises:
            InputError: the embeddings have a length that no CLIP model has.
        """
        given = as_embeddings(embeddings, "embeddings")
        _check_length(given)
        return io.NodeOutput([_vision_output(one.image_embeds) for one in given])


class ToIPAdapter(io.ComfyNode):
    """Give embeddings as those of IPAdapter."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsToIPAdapter",
            display_name="To IPAdapter embeds (pOps)",
            category="pops/embeddings",
            description="Gives embeddings to 'IPAdapter Embeds' of ComfyUI_IPAdapter_plus. Those "
            "of Kandinsky 2.2 fit ip-adapter_sdxl, which is not one of the vit-h or plus models.",
            inputs=[embeddings_input("embeddings", pictures=False)],
            outputs=[
                IPAdapterEmbeds.Output(
                    id="pos_embed",
                    display_name="pos_embed",
                    tooltip="All rows in one batch, which IPAdapter combines; Split embeddings "
                    "before this node makes a picture of each.",
                ),
                IPAdapterEmbeds.Output(
                    id="neg_embed", display_name="neg_embed", tooltip="As many rows of zeros."
                ),
            ],
        )

    @classmethod
    def execute(cls, embeddings: Any) -> io.NodeOutput:
        """Make the tensors.

        Args:
            embeddings: N embeddings.

        Returns:
            The embeddings (N, D), and zeros of that shape.

        Raises:
            InputError: the embeddings have a length that no CLIP model has.
        """
        given = as_embeddings(embeddings, "embeddings")
        _check_length(given)
        return io.NodeOutput(given.image_embeds, zeros_like(given.image_embeds))


def _vision_output(image_embeds: Tensor) -> Any:
    """Make the object of ComfyUI's CLIP vision models, with nothing but the embedding in it."""
    output = comfy.clip_vision.Output()
    output.image_embeds = image_embeds
    output.last_hidden_state = None
    output.penultimate_hidden_states = None
    output.mm_projected = None
    return output


def _check_length(embeddings: Embeddings) -> None:
    length = embeddings.image_embeds.shape[1]
    if length not in CLIP_LENGTHS:
        raise InputError(
            f"embeddings of {length} numbers, of the stack {embeddings.stack or 'unknown'}, fit no "
            "model outside pOps: use those of kandinsky-2.2, or Render"
        )
