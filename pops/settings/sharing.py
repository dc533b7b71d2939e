"""The settings of the commands that bring operators to other programs and to the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pops.settings.fields import PathOrName, argument, setting
from pops.settings.groups import Dtype

__all__ = ["ExportOperatorConfig"]


@dataclass(frozen=True, kw_only=True)
class ExportOperatorConfig:
    """Write an operator in the form of another library.

    diffusers: a folder with the operator and the encoders of its stack, which
    DiffusionPipeline.from_pretrained(folder, trust_remote_code=True) loads where pops is
    installed. lora: the file of an adapter as diffusers' load_lora_adapter reads it.
    """

    operator: PathOrName = argument("an operator folder, or the name of an operator of the stack")
    format: Literal["diffusers", "lora"] = setting("diffusers", "the form to write")
    stack: PathOrName | None = setting(
        None, "the stack it is of, by name or folder; null: as its card says, or pocket"
    )
    weights: PathOrName | None = setting(
        None, "operator folder, weights file or REPOSITORY:FILE in place of the stack's own"
    )
    dtype: Dtype = setting("float32", "number format of the weights that are written")
    out: Path = setting(Path("out/export"), "folder to write into; it must be empty or new")

    examples = (
        "pops export texturing",
        "pops export operators/texturing --format diffusers --out exported/texturing",
        "pops export operators/rusty --format lora --out exported/rusty",
    )
