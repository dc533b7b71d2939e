"""The files of a report: one JSON of everything, tables and a figure."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pops import __version__
from pops.evaluation.metrics.base import Metric
from pops.evaluation.report.figures import draw_estimates
from pops.evaluation.report.statistics import Estimate, compare, summarise
from pops.evaluation.report.tables import latex_table, markdown_table
from pops.evaluation.store import PictureLine, read_lines
from pops.io.files import atomic_path

__all__ = ["versions", "write_report"]

LIBRARIES = ("torch", "transformers", "diffusers", "numpy", "scipy", "pillow")


def versions() -> dict[str, str]:
    """List the versions that numbers depend on.

    Returns:
        Versions by name.
    """
    found = {"pops": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the package of an extra that is not installed
            continue
    return found


def write_report(
    folder: Path,
    settings: Mapping[str, Any],
    metrics: Sequence[Metric],
    without: Mapping[str, str],
) -> list[Path]:
    """Write the report of an evaluation whose lines are all there.

    Args:
        folder: The folder of the evaluation.
        settings: Its settings.
        metrics: Its metrics.
        without: The metrics that were left out, each with the reason.

    Returns:
        The files that were written.

    Raises:
        InputError: A line is damaged.
        OutputError: A file cannot be written.
    """
    lines = read_lines(folder, PictureLine)
    summary = summarise(lines, [metric.name for metric in metrics if metric.share])
    first = next(iter(summary))
    report = {
        "settings": dict(settings),
        "versions": versions(),
        "metrics": {m.name: {"title": m.title, "better": m.better} for m in metrics},
        "left_out": dict(without),
        "pictures": len(lines),
        "methods": _plain(summary),
        f"{first} minus": _plain(compare(lines, first)),
    }
    table = markdown_table(summary, metrics)
    titles = "\n".join(f"- {m.name}: {m.title}; {m.better} is better" for m in metrics)
    models = "\n".join(f"- {s}: {m['name']}@{m['revision']}" for s, m in settings["models"].items())
    files = {
        "report.json": json.dumps(report, indent=1, allow_nan=False) + "\n",
        "report.md": f"{table}\nMeans with 95% bootstrap intervals over requests.\n\n{titles}\n\n"
        f"{models}\n",
        "report.tex": latex_table(summary, metrics),
    }
    written = []
    for name, content in files.items():
        with atomic_path(folder / name) as part:
            part.write_text(content, encoding="utf-8")
        written.append(folder / name)
    if draw_estimates(summary, metrics, folder / "report.png"):
        written.append(folder / "report.png")
    return written


def _plain(found: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        method: {name: asdict(estimate) for name, estimate in own.items()}
        for method, own in found.items()
    }
