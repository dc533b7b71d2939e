"""The metrics of a run: always in metrics.jsonl, and in trackers where they are installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pops.errors import DataError, UsageError
from pops.io.files import atomic_path
from pops.io.formats.tensors import saving

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Metrics", "MetricsLog", "choose_trackers", "read_metrics"]

TRACKERS = ("tensorboard", "wandb", "trackio")
Metrics = dict[str, float]  # one line: the step, and numbers by name


class MetricsLog:
    """A file with one JSON object a line. Only the main process writes."""

    def __init__(self, path: Path, accelerator: Accelerator, step: int) -> None:
        """Take up a log, without the lines of steps that were lost.

        Args:
            path: The file.
            accelerator: Tells which process is the main one, and holds the trackers.
            step: The step from which the run goes on.

        Raises:
            OutputError: The file cannot be written.
        """
        self.path, self.accelerator = path, accelerator
        if accelerator.is_main_process:
            kept = [line for line in read_metrics(path) if line["step"] <= step]
            with atomic_path(path) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line, and pass it on to the trackers.

        Args:
            step: The step.
            values: Numbers by name.

        Raises:
            OutputError: The file cannot be written.
        """
        if self.accelerator.is_main_process:
            with saving(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        self.accelerator.log(dict(values), step=step)


def read_metrics(path: Path) -> list[Metrics]:
    """Read the lines of a log. A line that was cut short by a kill is left out.

    Args:
        path: The file, which need not exist.

    Returns:
        The lines in order.

    Raises:
        DataError: A line is not one of finite numbers by name.
    """
    lines: list[Metrics] = []
    content = path.read_bytes() if path.exists() else b""
    for number, text in enumerate(content.splitlines(), 1):
        if not text.endswith(b"}"):
            continue
        try:
            lines.append(msgspec.json.decode(text, type=dict[str, int | float]))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}, line {number}: it is not a line of metrics ({error}); remove it"
            ) from error
    return [line for line in lines if "step" in line]


def choose_trackers(report_to: Sequence[str]) -> list[str]:
    """Choose the trackers that a run reports to.

    Args:
        report_to: Names of trackers; `auto` for tensorboard where it is installed, `none` for none.

    Returns:
        The names as accelerate knows them.

    Raises:
        UsageError: A tracker is unknown or not installed.
    """
    if tuple(report_to) == ("auto",):
        return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    chosen = [name for name in report_to if name != "none"]
    for name in chosen:
        if name not in TRACKERS:
            raise UsageError(f"--report_to must be {', '.join(TRACKERS)} or none, not {name!r}")
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"--report_to {name} needs a package that is not installed: pip install {name}"
            )
    return chosen
