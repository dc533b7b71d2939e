"""Where the parts of a stack are: in a folder of one's own, or in repositories of the hub.

A stack is two folders in the layout of Kandinsky 2.2 and, where there are any, its operators:

    prior/      image_encoder  image_processor  text_encoder  tokenizer  prior  scheduler
    decoder/    unet  movq  scheduler  [render.json]
    operators/  NAME/operator.json + prior.safetensors, or in its place an adapter's files, or
                own.safetensors where several share one prior.safetensors beside their folders;
                or models/NAME/learned_prior.pth

The models of the other renderers may lie beside them: sdxl, sdxl_vae, ip_adapter, controlnet and
dpt. Where they do not, they are those of the hub.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pops.errors import UsageError, WeightsError, nearest
from pops.io.hub.repositories import PART_FILES
from pops.io.names import expand_home
from pops.prior.config import PriorConfig

__all__ = ["PRIOR_CONFIGS", "PRIOR_WEIGHTS", "STACKS", "WEIGHTS", "StackSpec", "find_spec"]

WEIGHTS = Path(__file__).parents[1] / "pocket" / "weights"
PRIOR_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class StackSpec:
    """Where a stack lives: each part a folder, or a repository of the hub."""

    name: str
    prior: str
    decoder: str
    operators: str
    sdxl: str = "stabilityai/stable-diffusion-xl-base-1.0"
    sdxl_vae: str = "madebyollin/sdxl-vae-fp16-fix"
    ip_adapter: str = "h94/IP-Adapter"
    controlnet: str = "diffusers/controlnet-depth-sdxl-1.0"
    dpt: str = "Intel/dpt-hybrid-midas"
    index: str = ""  # a folder that pops index wrote, for the renderer `find`
    sdxl_config: str = "stabilityai/stable-diffusion-xl-base-1.0"  # sizes of a single-file sdxl
    inpaint_decoder: str = "kandinsky-community/kandinsky-2-2-decoder-inpaint"
    depth_decoder: str = "kandinsky-community/kandinsky-2-2-controlnet-depth"


STACKS = {
    spec.name: spec
    for spec in (
        StackSpec(
            "pocket", str(WEIGHTS / "prior"), str(WEIGHTS / "decoder"), str(WEIGHTS / "operators")
        ),
        StackSpec(
            "kandinsky-2.2",
            "kandinsky-community/kandinsky-2-2-prior",
            "kandinsky-community/kandinsky-2-2-decoder",
            "pOpsPaper/operators",
        ),
    )
}
# Known without a download, so that an operator's weights can be checked without it.
PRIOR_CONFIGS = {"kandinsky-community/kandinsky-2-2-prior": PriorConfig()}


def find_spec(stack: str | Path) -> StackSpec:
    """Find the places of a stack's parts, by its name or in its folder.

    Args:
        stack: the name of a stack, or a folder in the layout of one.

    Returns:
        The places.

    Raises:
        UsageError: the stack is unknown, with the nearest name.
        WeightsError: the folder holds no stack.
    """
    if str(stack) in STACKS:
        return STACKS[str(stack)]
    folder = expand_home(stack)
    if folder.is_dir():
        if not (folder / "prior").is_dir():
            raise WeightsError(f"{folder} is not a stack: it has no folder named prior")
        own = {part: str(folder / part) for part in PART_FILES if (folder / part).is_dir()}
        needed = {part: str(folder / part) for part in ("prior", "decoder", "operators")}
        # The name goes into cards and embedding files: bytes that are not UTF-8 become escapes.
        named = os.fsencode(folder.resolve().name).decode(errors="backslashreplace")
        return StackSpec(named, **(own | needed))
    raise UsageError(
        f"unknown stack {str(stack)!r}{nearest(str(stack), STACKS)} "
        f"(name one of {', '.join(STACKS)}, or a folder)"
    )
