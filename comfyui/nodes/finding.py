"""Find."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from pops.engine import Engine
from pops.errors import check_known
from pops.io.pictures import open_picture
from pops.search.exact import Index

from ..places import fingerprint, index_places
from ..values import as_embeddings, as_image, embeddings_input, stack_input
from ..work import Bar, make_room

__all__ = ["Find"]


class Find(io.ComfyNode):
    """Find the pictures of an index that are nearest to embeddings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsFind",
            display_name="Find (pOps)",
            category="pops",
            description="Finds the pictures of a folder that are nearest to each embedding. "
            "`pops index FOLDER --out ComfyUI/models/pops/indexes/NAME` makes the index.",
            inputs=[
                stack_input(),
                embeddings_input("embeddings"),
                io.Combo.Input(
                    "index",
                    options=list(index_places()),
                    tooltip="An index in models/pops/indexes. Press R after adding one.",
                ),
                io.Int.Input(
                    "count", default=6, min=1, max=1000, tooltip="How many pictures of each."
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    is_output_list=True,
                    tooltip="A list of pictures, each of its own size: those of the first "
                    "embedding, the nearest first, then those of the next.",
                ),
                io.Float.Output(
                    display_name="score",
                    is_output_list=True,
                    tooltip="For each picture the cosine of its embedding and the one given.",
                ),
                io.String.Output(
                    display_name="file", is_output_list=True, tooltip="The path of each picture."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, index: str) -> bool | str:
        """Check, before anything runs, that the index is there.

        Args:
            index: the name that was chosen.

        Returns:
            True, or what is wrong.
        """
        if index in index_places():
            return True
        return (
            f"there is no index named {index!r} in models/pops/indexes: make one there with pops "
            "index, and press R"
        )

    @classmethod
    def fingerprint_inputs(cls, index: str, **chosen: Any) -> str:
        """Tell whether the index has changed.

        Args:
            index: the name of the index.
            chosen: the other inputs, which ComfyUI compares itself.

        Returns:
            A text that is the same as long as the index is.
        """
        return fingerprint([index_places().get(index, index)])

    @classmethod
    def execute(cls, stack: Engine, embeddings: Any, index: str, count: int) -> io.NodeOutput:
        """Find the pictures.

        Args:
            stack: the engine.
            embeddings: N embeddings.
            index: the name of an index.
            count: the number of pictures of each.

        Returns:
            Lists of N * count pictures, scores and paths; fewer where the index has fewer.

        Raises:
            UsageError: there is no such index, or it is of another stack.
            InputError: the embeddings are of another stack, or a picture is gone.
        """
        places = index_places()
        check_known("index", index, places)
        make_room(stack)
        bar = Bar()
        given = as_embeddings(embeddings, "embeddings", stack, bar)
        opened = Index(places[index])
        opened.check_stack(stack.stack)
        hits = [hit for found in opened.find(given.image_embeds, count) for hit in found]
        images = []
        for done, hit in enumerate(hits, 1):
            images.append(as_image([open_picture(hit.path)]))
            bar("find", done, len(hits))
        return io.NodeOutput(images, [hit.score for hit in hits], [str(hit.path) for hit in hits])
