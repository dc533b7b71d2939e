"""Load stack."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import io

from pops.engine import Engine
from pops.errors import check_known
from pops.io.machine.placement import DTYPES, OFFLOADS

from ..places import fingerprint, own_operators, stack_places
from ..values import StackType

__all__ = ["LoadStack"]

DEVICES = ("auto", "cpu", "cuda", "mps")


class LoadStack(io.ComfyNode):
    """Open the models of one embedding space."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node.

        Returns:
            Its inputs, outputs and words.
        """
        return io.Schema(
            node_id="PopsLoadStack",
            display_name="Load stack (pOps)",
            category="pops",
            description="Opens a stack: the image encoder, the operators and the decoder of one "
            "embedding space. Nothing is loaded before it is used.",
            inputs=[
                io.Combo.Input(
                    "stack_name",
                    options=list(stack_places()),
                    default="kandinsky-2.2",
                    tooltip="`kandinsky-2.2` is what pOps was made for; its models come from the "
                    "hub when they are first used (about 10 GB, and 4 GB an operator). `pocket` "
                    "is a toy inside the package, for trying workflows on a CPU: it knows drawn "
                    "objects only. Folders in models/pops/stacks are listed, too.",
                ),
                io.Combo.Input(
                    "device",
                    options=list(DEVICES),
                    default="auto",
                    tooltip="Where the models run; auto is the device of ComfyUI.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=["auto", *DTYPES],
                    default="auto",
                    tooltip="The number format of the models; auto is float16 on a GPU and float32 "
                    "on a CPU.",
                ),
                io.Combo.Input(
                    "offload",
                    options=list(OFFLOADS),
                    default="model",
                    tooltip="model: each model is on the GPU only while it is used, so that the "
                    "models of ComfyUI have room. none: they stay there, which is faster where "
                    "nothing else needs the memory.",
                ),
            ],
            outputs=[StackType.Output(display_name="stack", tooltip="The stack, for other nodes.")],
        )

    @classmethod
    def fingerprint_inputs(cls, stack_name: str, **chosen: str) -> str:
        """Tell whether the files of the stack or of operators of your own have changed.

        Args:
            stack_name: the name of the stack.
            chosen: the other inputs, which ComfyUI compares itself.

        Returns:
            A text that is the same as long as the files are.
        """
        return fingerprint([stack_places().get(stack_name, stack_name), *own_operators()])

    @classmethod
    def execute(cls, stack_name: str, device: str, dtype: str, offload: str) -> io.NodeOutput:
        """Open the stack.

        Args:
            stack_name: the name of a stack.
            device: where its models run.
            dtype: the number format of its models.
            offload: where they are while they are not used.

        Returns:
            The stack.

        Raises:
            UsageError: the stack or the device is not there.
        """
        places = stack_places()
        check_known("stack", stack_name, places)
        where = str(comfy.model_management.get_torch_device()) if device == "auto" else device
        engine = Engine.load(
            places[stack_name], where, dtype, offload=offload, operator_folders=own_operators()
        )
        return io.NodeOutput(engine)
