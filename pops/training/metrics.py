"""What a run tells while it trains: metrics.jsonl, always; trackers, where they are installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pops.errors import UsageError
from pops.io.files import atomic_path

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["MetricsLog", "choose_trackers", "read_metrics"]

TRACKERS = ("tensorboard", "wandb", "trackio")
Line = dict[str, float]


class MetricsLog:
    """One JSON object a line: the step, and numbers by name. Only the main process writes."""

    def __init__(self, path: Path, accelerator: Accelerator, step: int) -> None:
        """`step`: where the run goes on; lines of later steps, which were lost, are taken out."""
        self.path, self.accelerator = path, accelerator
        if accelerator.is_main_process:
            kept = [line for line in read_metrics(path) if line["step"] <= step]
            with atomic_path(path) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line, and tell the trackers."""
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        self.accelerator.log(dict(values), step=step)


def read_metrics(path: Path) -> list[Line]:
    """The lines of a run so far; one that was cut short is left out."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if text.endswith("}"):
            lines.append(json.loads(text))
    return lines


def choose_trackers(report_to: Sequence[str]) -> list[str]:
    """The trackers of accelerate by name; UsageError for one unknown or not installed."""
    if tuple(report_to) == ("auto",):
        return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    chosen = [name for name in report_to if name != "none"]
    for name in chosen:
        if name not in TRACKERS:
            raise UsageError(f"--report_to is {', '.join(TRACKERS)} or none, not {name!r}")
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--report_to {name} is not installed: pip install {name}")
    return chosen
