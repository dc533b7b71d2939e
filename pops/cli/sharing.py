"""The commands that bring operators to other programs and to the hub."""

from __future__ import annotations

import sys
from pathlib import Path

from pops.errors import UsageError
from pops.io.files import staged_folder
from pops.io.names import expand_home
from pops.operators import read_operator_card
from pops.settings.sharing import ExportOperatorConfig

__all__ = ["export"]


def export(config: ExportOperatorConfig) -> int:
    """Run `pops export`: write an operator in the form of another library.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.

    Raises:
        UsageError: the folder to write into holds something.
    """
    if config.out.exists() and any(config.out.iterdir()):
        raise UsageError(f"{config.out} is not empty: name another folder with --out")
    if config.format == "lora":
        with staged_folder(config.out) as stage:
            _export_lora(expand_home(config.operator), stage)
        print(f"{config.out}  (for load_lora_adapter of diffusers' PriorTransformer)")
        return 0
    stack = config.stack or _stack_of(config.operator) or "pocket"
    print(f"loading {stack}", file=sys.stderr)
    from pops.pipeline import PopsPipeline

    pipeline = PopsPipeline.from_operator(
        config.operator, stack, weights=config.weights, device="cpu", dtype=config.dtype
    )
    with staged_folder(config.out) as stage:
        pipeline.save_pretrained(stage)
    print(
        f"{config.out}  (DiffusionPipeline.from_pretrained(..., trust_remote_code=True) loads it)"
    )
    return 0


def _stack_of(operator: str) -> str | None:
    """The stack that the card of an operator folder names."""
    folder = expand_home(operator)
    is_folder = (folder / "operator.json").is_file()
    return read_operator_card(folder).stack if is_folder else None


def _export_lora(folder: Path, out: Path) -> None:
    from pops.prior.adapters import ADAPTER_CONFIG, Adapter, save_lora

    if not (folder / ADAPTER_CONFIG).is_file():
        raise UsageError(
            f"{folder} is no folder of an adapter: export it with --format diffusers, or train "
            "one with pops train --lora_rank"
        )
    save_lora(out, Adapter.read(folder))
