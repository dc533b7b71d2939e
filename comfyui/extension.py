"""The nodes that ComfyUI is given when it starts."""

from comfy_api.latest import ComfyExtension, io

try:
    from pops.operators import known_operators
except ImportError as error:  # `pops` on the package index is another project
    raise ImportError(
        "the pOps nodes need the package pops-operators: install it with the Python of ComfyUI, "
        "python -m pip install pops-operators"
    ) from error

from .nodes.combining import Add, Mix, Slerp, Swap
from .nodes.composing import Compose
from .nodes.exchange import ToClipVision, ToIPAdapter
from .nodes.files import LoadEmbeddings, SaveEmbeddings
from .nodes.finding import Find
from .nodes.operators import operator_node
from .nodes.pictures import EncodePictures, ExamplePicture
from .nodes.rendering import Render
from .nodes.rows import BatchEmbeddings, PickEmbeddings, SplitEmbeddings
from .nodes.stack import LoadStack
from .nodes.texts import EncodeText
from .places import add_folders, own_operators

__all__ = ["PopsExtension", "comfy_entrypoint"]

NODES: tuple[type[io.ComfyNode], ...] = (
    LoadStack,
    ExamplePicture,
    EncodePictures,
    EncodeText,
    Compose,
    Render,
    Find,
    LoadEmbeddings,
    SaveEmbeddings,
    Mix,
    Slerp,
    Add,
    Swap,
    BatchEmbeddings,
    PickEmbeddings,
    SplitEmbeddings,
    ToClipVision,
    ToIPAdapter,
)


class PopsExtension(ComfyExtension):
    """The pack: its own nodes, and one for each operator."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Make the list of nodes; operators of your own are looked for now, and not again.

        Returns:
            The classes of the nodes.
        """
        add_folders()
        rows = known_operators(own_operators())
        return [*NODES, *(operator_node(row) for row in rows.values())]


async def comfy_entrypoint() -> PopsExtension:
    """Give ComfyUI the pack.

    Returns:
        The extension.
    """
    return PopsExtension()
