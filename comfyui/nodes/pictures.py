"""Encode pictures, and pictures to try it with."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from pops.engine import Engine
from pops.errors import check_known
from pops.io.assets import example_pictures
from pops.io.pictures import open_picture

from ..values import Embeds, as_embeddings, as_image, stack_input
from ..work import Bar, make_room

__all__ = ["EncodePictures", "ExamplePicture"]


class EncodePictures(io.ComfyNode):
    """Encode a batch of pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsEncodePictures",
            display_name="Encode pictures (pOps)",
            category="pops",
            description="Makes the embedding of each picture of a batch, as the operators want it: "
            "the whole picture, resized to a square. Operators take pictures as they are, too; "
            "this node encodes them once for several.",
            inputs=[
                stack_input(),
                io.Image.Input("image", tooltip="One picture or a batch; each becomes a row."),
            ],
            outputs=[Embeds.Output(display_name="embeddings", tooltip="One row a picture.")],
        )

    @classmethod
    def execute(cls, stack: Engine, image: Tensor) -> io.NodeOutput:
        """Encode the pictures.

        Args:
            stack: the engine.
            image: pictures (N, H, W, C).

        Returns:
            N embeddings.

        Raises:
            InputError: the input is not a batch of pictures.
        """
        make_room(stack)
        return io.NodeOutput(as_embeddings(image, "image", stack, Bar()))


class ExamplePicture(io.ComfyNode):
    """Open a picture that comes with pops."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsExamplePicture",
            display_name="Example picture (pOps)",
            category="pops",
            description="Opens a picture that comes with pops, so that the example workflows run "
            "as they are. For pictures of your own there is Load Image.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=list(example_pictures()),
                    default="objects/mug",
                    tooltip="Drawn objects, textures, backgrounds and garments, which the stack "
                    "`pocket` knows.",
                )
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The picture.")],
        )

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        """Open the picture.

        Args:
            name: the name of its folder and of the file, without its ending.

        Returns:
            A picture (1, H, W, 3).

        Raises:
            UsageError: there is no such picture.
        """
        examples = example_pictures()
        check_known("picture", name, examples)
        return io.NodeOutput(as_image([open_picture(examples[name])]))
