"""Curves over the steps of a run, drawn as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pops.io.files import atomic_path
from pops.training.outputs.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_panels", "training_panels"]

Points = Sequence[tuple[float, float]]
Panels = Mapping[str, Mapping[str, Points]]  # title -> label of a curve -> its points

LINE_UP_TO = 30  # points of a curve that are marked one by one
COLUMNS = 5


def draw_panels(panels: Panels, path: Path, x_label: str = "step", log_y: bool = False) -> bool:
    """Draw curves into panels side by side; where each has a single point, bars with its number.

    Args:
        panels: For every panel its title, and for every curve its label and points (x, y).
        path: The picture to write.
        x_label: The label of the horizontal axes.
        log_y: Whether the vertical axes are logarithmic.

    Returns:
        True; False where matplotlib is not installed and nothing is drawn.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, max(1, len(panels)))
    rows = -(-max(1, len(panels)) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 3.2 * rows), constrained_layout=True, squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        axis.set_title(title)
        axis.spines[["top", "right"]].set_visible(False)
        draw = _draw_bars if all(len(points) == 1 for points in curves.values()) else _draw_curves
        draw(axis, curves, x_label, log_y)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=100)
    pyplot.close(figure)
    return True


def _draw_curves(axis: Axes, curves: Mapping[str, Points], x_label: str, logarithmic: bool) -> None:
    for label, points in curves.items():
        marker = "o" if len(points) == 1 else "." if len(points) < LINE_UP_TO else ""
        axis.plot(*zip(*points, strict=True), label=label, lw=1.2, marker=marker)
    axis.set(xlabel=x_label, yscale="log" if logarithmic else "linear")
    if len(curves) > 1:
        axis.legend(fontsize=8, frameon=False)


def _draw_bars(axis: Axes, curves: Mapping[str, Points], x_label: str, logarithmic: bool) -> None:
    """Draw a bar for each curve of a single point, where there is no line, from the top down."""
    points = [point for (point,) in curves.values()]
    bars = axis.barh(list(curves), [y for _, y in points], height=0.6)
    axis.bar_label(bars, fmt="%.3g", padding=4, fontsize=8)
    at = ", ".join(dict.fromkeys(f"{x:g}" for x, _ in points))
    axis.set(xlabel=f"at {x_label} {at}", xscale="log" if logarithmic else "linear")
    axis.set_ylim(max(len(points), 3) - 0.5, -0.5)
    axis.margins(x=0.2)  # the numbers stand beside the bars


def training_panels(lines: Sequence[Metrics]) -> Panels:
    """Sort the metrics of a training run into panels.

    Args:
        lines: The metrics of the run.

    Returns:
        The panels of loss, validation and gradient, without those that have no curve.
    """
    panels = {
        "loss": _named(lines, "mse", "text"),
        "held-out loss by timestep": _named(lines, "val/loss_"),
        "held-out cosine to the target": _named(lines, "val/cosine", "val/baseline_cosine"),
        "held-out cosine of each operator": _of_each(lines, "/cosine"),
        "gradient norm": _named(lines, "grad_norm"),
    }
    return {
        title: {_label(name): _points(lines, name) for name in names}
        for title, names in panels.items()
        if names
    }


def _points(lines: Sequence[Metrics], name: str) -> Points:
    return [(line["step"], line[name]) for line in lines if name in line]


def _named(lines: Sequence[Metrics], *starts: str) -> list[str]:
    names = dict.fromkeys(name for line in lines for name in line)
    return [name for name in names if name.startswith(starts)]


def _of_each(lines: Sequence[Metrics], end: str) -> list[str]:
    """List the metrics of several operators: they are val/NAME/..., those of one are val/..."""
    return [name for name in _named(lines, "val/") if name.count("/") > 1 and name.endswith(end)]


def _label(name: str) -> str:
    words = {"baseline_cosine": "mean of the inputs", "cosine": "operator"}
    plain = name.removeprefix("val/").removesuffix("/cosine")
    return words.get(plain, plain.removeprefix("loss_"))
