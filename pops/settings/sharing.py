"""The settings of the commands that bring operators to other programs and to the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pops.settings.fields import PathOrName, argument, setting
from pops.settings.groups import Dtype

__all__ = ["ExportOperatorConfig", "PullConfig", "PushConfig"]


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
        None, "the stack of the operator, by name or folder; null: as its card says, or pocket"
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


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """Share an operator on the model hub: its card, its weights and its model card.

    Adapters are what to share: some megabytes, where a whole prior of kandinsky-2.2 is 4 GB; pops
    train --lora_rank makes them. The token is that of hf auth login, or of HF_TOKEN.
    """

    operator: Path = argument("the operator folder")
    repository: str = argument("OWNER/NAME on the hub; it is made where it is missing")
    private: bool = setting(False, "let only the owner see a new repository")
    dry_run: bool = setting(False, "show what would be sent, without asking the network")
    licence: str = setting("apache-2.0", "licence of the weights, as the hub spells it")
    metrics: Path | None = setting(
        None, "JSON file of numbers for the model card, as pops eval pocket --json prints them"
    )
    picture: Path | None = setting(None, "example picture for the model card")

    examples = (
        "pops push operators/texturing user/name --dry_run",
        "pops push operators/rusty user/rusty --private --picture out/apply/example.jpg",
    )


@dataclass(frozen=True, kw_only=True)
class PullConfig:
    """Fetch an operator from the model hub into a folder that every command takes.

    Nothing that could run code is fetched. Files that came whole are not fetched again.
    """

    repository: str = argument("OWNER/NAME on the hub")
    out: Path | None = setting(None, "the folder to make; null: operators/NAME")
    revision: str | None = setting(None, "branch, tag or commit; null: the main branch")

    examples = (
        "pops pull user/rusty",
        "pops pull user/rusty --revision v2 --out operators/rusty-2",
    )
