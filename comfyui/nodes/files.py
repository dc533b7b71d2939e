"""Load and save embeddings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from pops import Embeddings
from pops.io.names import EMBEDDING_SUFFIXES

from ..places import fingerprint
from ..values import Embeds, as_embeddings, embeddings_input

__all__ = ["LoadEmbeddings", "SaveEmbeddings"]

FORMATS = ("safetensors", "ipadpt", "pth")


class LoadEmbeddings(io.ComfyNode):
    """Read an embedding file of the input or the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsLoadEmbeddings",
            display_name="Load embeddings (pOps)",
            category="pops/embeddings",
            description="Reads embeddings from a file in ComfyUI's input or output folder. Nothing "
            "in a file can run code.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_files(),
                    tooltip="Files of pops, of the published pOps scripts, of IPAdapter (.ipadpt), "
                    "and arrays of NumPy. Press R after adding one.",
                )
            ],
            outputs=[Embeds.Output(display_name="embeddings", tooltip="All rows of the file.")],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        """Check, before anything runs, that the file is one of those that may be read.

        Args:
            file: the name that was chosen.

        Returns:
            True, or what is wrong.
        """
        if file in _files():
            return True
        return (
            f"{file} is not an embedding file in ComfyUI's input or output folder: put it there, "
            "and press R"
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """Tell whether the file has changed.

        Args:
            file: the name that was chosen.

        Returns:
            A text that is the same as long as the file is.
        """
        return fingerprint([folder_paths.get_annotated_filepath(file)])

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Read the file.

        Args:
            file: the name that was chosen.

        Returns:
            Its embeddings.

        Raises:
            InputError: the file is gone, damaged, or holds something else.
        """
        return io.NodeOutput(Embeddings.load(folder_paths.get_annotated_filepath(file)))


class SaveEmbeddings(io.ComfyNode):
    """Write embeddings to a file of the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsSaveEmbeddings",
            display_name="Save embeddings (pOps)",
            category="pops/embeddings",
            description="Writes embeddings into ComfyUI's output folder, under a new number.",
            inputs=[
                embeddings_input("embeddings", pictures=False),
                io.String.Input(
                    "filename_prefix",
                    default="embeddings/pops",
                    tooltip="The beginning of the file's name; what stands before / is a folder.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default=FORMATS[0],
                    tooltip="safetensors keeps how each embedding was made. ipadpt is what "
                    "'IPAdapter Load Embeds' reads, once the file is in the input folder. pth is "
                    "what the published pOps scripts read.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, embeddings: Any, filename_prefix: str, format: str) -> io.NodeOutput:
        """Write the file.

        Args:
            embeddings: N embeddings.
            filename_prefix: the beginning of the name.
            format: the kind of file.

        Returns:
            No output; the name of the file for the interface.

        Raises:
            InputError: the input holds no embedding.
            OutputError: the file cannot be written.
        """
        given = as_embeddings(embeddings, "embeddings")
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        file = f"{name}_{number:05}_.{format}"
        given.save(Path(folder) / file)
        return io.NodeOutput(ui={"text": [os.path.join(subfolder, file)]})


def _files() -> list[str]:
    """List the embedding files of the input folder, then those of the output folder."""
    homes = (
        (folder_paths.get_input_directory(), ""),
        (folder_paths.get_output_directory(), " [output]"),
    )
    return [name + mark for home, mark in homes for name in _embedding_files(home)]


def _embedding_files(home: str) -> list[str]:
    found = [
        os.path.relpath(os.path.join(at, name), home).replace(os.sep, "/")
        for at, _, names in os.walk(home)
        for name in names
        if name.lower().endswith(EMBEDDING_SUFFIXES)
    ]
    return sorted(found)
