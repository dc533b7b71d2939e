"""Figures of estimates: a panel for each metric, a point with its interval for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pops.evaluation.metrics.base import Metric
from pops.evaluation.report.statistics import Estimate
from pops.io.files import atomic_path

__all__ = ["draw_estimates"]

COLUMNS = 4


def draw_estimates(
    summary: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[Metric], path: Path
) -> bool:
    """Draw estimates with their intervals.

    Args:
        summary: The estimates by method and metric.
        metrics: The panels.
        path: The picture to write.

    Returns:
        True; False where matplotlib is not installed, or there is nothing to draw.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    if not metrics:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    height = 0.7 + 0.28 * len(summary)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(3.2 * columns, height * rows + 0.4),
        constrained_layout=True,
        squeeze=False,
        sharey=True,
    )
    methods = list(summary)
    for axis in axes.flat[len(metrics) :]:
        axis.axis("off")
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for at, method in enumerate(methods):
            found = summary[method].get(metric.name)
            if found is None:
                continue
            ends = [[found.mean - found.low], [found.high - found.mean]]
            colour = "#c8502d" if at == 0 else "#4a5a6a"
            axis.errorbar(found.mean, at, xerr=ends, fmt="o", ms=5, capsize=3, color=colour)
        arrow = "→ better" if metric.better == "higher" else "← better"
        axis.set_title(metric.name, fontsize=10)
        axis.set_xlabel(arrow, fontsize=8)
        axis.set_yticks(range(len(methods)), methods, fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.margins(x=0.15, y=0.15)
        axis.grid(axis="x", lw=0.4, alpha=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes.flat[0].invert_yaxis()  # the first method on top; the panels share the axis
    with atomic_path(path) as part:
        figure.savefig(part, dpi=120)
    pyplot.close(figure)
    return True
