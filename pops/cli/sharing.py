"""The commands that bring operators to other programs and to the hub."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import Any

from pops.errors import InputError, UsageError
from pops.io.files import staged_folder
from pops.io.formats.schema import read_json
from pops.io.hub.sharing import LARGE, pull_folder, push_files, shared_files
from pops.io.hub.snapshots import is_repository
from pops.io.names import expand_home
from pops.io.pictures import open_picture
from pops.operators import Operator, read_operator_card
from pops.settings.sharing import ExportOperatorConfig, PullConfig, PushConfig

__all__ = ["export", "pull", "push"]


def export(config: ExportOperatorConfig) -> int:
    """Run `pops export`: write an operator in the form of another library.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.

    Raises:
        UsageError: the folder to write into holds something.
    """
    _check_new(config.out)
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


def push(config: PushConfig) -> int:
    """Run `pops push`: share an operator on the model hub.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.

    Raises:
        UsageError: the picture is not a file, or the name is not that of a repository.
    """
    card = read_operator_card(config.operator)
    if config.picture is not None and config.picture.suffix.lower() not in (".png", ".jpg"):
        raise UsageError(f"--picture must be a .png or .jpg file, not {config.picture}")
    if config.picture is not None:
        open_picture(config.picture)
    if not is_repository(config.repository):
        raise UsageError(f"{config.repository!r} is not a repository of the hub: write OWNER/NAME")
    metrics = {} if config.metrics is None else _read_metrics(config.metrics, card.operator.name)
    files = shared_files(
        config.operator, config.repository, config.licence, metrics, config.picture
    )
    sizes = {
        name: len(file) if isinstance(file, bytes) else file.stat().st_size
        for name, file in files.items()
    }
    for name, size in sizes.items():
        print(f"  {name:<28}{size / 1e6:>10.3f} MB")
    if sum(sizes.values()) > LARGE:
        print("an adapter would be a hundredth of it: pops train --lora_rank", file=sys.stderr)
    if config.dry_run:
        seen = "private" if config.private else "public"
        print(f"would be sent to {config.repository}, {seen} where it is new: nothing was sent")
        return 0
    print(push_files(config.repository, files, private=config.private))
    return 0


def pull(config: PullConfig) -> int:
    """Run `pops pull`: fetch an operator from the model hub.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    out = config.out or Path("operators") / config.repository.rpartition("/")[2]
    _check_new(out)
    operator = Operator.from_pretrained(pull_folder(config.repository, config.revision))
    print(f"{operator.save_pretrained(out)}  (pops apply {out} {' '.join(operator.inputs)})")
    return 0


def _check_new(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} is not empty: name another folder with --out")


def _read_metrics(path: Path, operator: str) -> dict[str, float]:
    """Read the finite numbers of a report, or of its part under the operator's name."""
    found = read_json(path, dict[str, Any], InputError)
    part = found.get(operator, found)
    kept = {
        str(key): float(value)
        for key, value in (part if isinstance(part, dict) else {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    }
    if not kept:
        raise InputError(
            f"{path} holds no numbers of {operator}: name a summary of pops eval pocket"
        )
    return kept


def _stack_of(operator: str) -> str | None:
    """Find the stack that the card of an operator folder names."""
    folder = expand_home(operator)
    is_folder = (folder / "operator.json").is_file()
    return read_operator_card(folder).stack if is_folder else None


def _export_lora(folder: Path, out: Path) -> None:
    from pops.prior.adapters import ADAPTER_CONFIG, Adapter, save_lora

    if not (folder / ADAPTER_CONFIG).is_file():
        raise UsageError(
            f"{folder} is not the folder of an adapter: export it with --format diffusers, or "
            "train one with pops train --lora_rank"
        )
    save_lora(out, Adapter.read(folder))
