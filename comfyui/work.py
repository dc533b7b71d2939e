"""Work as users of ComfyUI expect it: a progress bar, interruption, and room on the GPU."""

from __future__ import annotations

import comfy.model_management
import comfy.utils

from pops.engine import Engine

__all__ = ["Bar", "make_room"]

WORKING_BYTES = 2 * 2**30  # beside the weights: a batch of pictures in the decoder


class Bar:
    """Show the progress of pops in the bar of the node, and stop where the user says so."""

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(1)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` parts of the work are done.

        Args:
            what: the name of the work.
            done: the parts that are done.
            total: all parts.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, total)


def make_room(engine: Engine) -> None:
    """Have ComfyUI move models of its own off the GPU, where they leave too little for pops.

    Args:
        engine: the engine that is about to work.
    """
    device = engine.stack.device
    if device.type != "cpu":
        # The image encoder and the decoder are about as large as the prior each.
        needed = 2 * engine.stack.prior_bytes + WORKING_BYTES
        comfy.model_management.free_memory(needed, device)
