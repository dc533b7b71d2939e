"""Tables in Markdown and in LaTeX: a row for each method, a column for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pops.evaluation.metrics.base import Metric
from pops.evaluation.report.statistics import Estimate

__all__ = ["latex_table", "markdown_table", "shown_interval"]

Summary = Mapping[str, Mapping[str, Estimate]]
ARROWS = {"higher": ("↑", r"$\uparrow$"), "lower": ("↓", r"$\downarrow$")}
LATEX = {letter: rf"\{letter}" for letter in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def shown_interval(found: Estimate) -> str:
    """Write an estimate with its interval.

    Args:
        found: The estimate.

    Returns:
        A text such as `0.661 [0.655, 0.667]`.
    """
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _best(summary: Summary, metric: Metric) -> set[str]:
    """Find the methods with the best mean of a metric."""
    means = {m: own[metric.name].mean for m, own in summary.items() if metric.name in own}
    if not means:
        return set()
    best = (max if metric.better == "higher" else min)(means.values())
    return {method for method, mean in means.items() if mean == best}


def markdown_table(summary: Summary, metrics: Sequence[Metric]) -> str:
    """Write a table in Markdown, the best of each column in bold.

    Args:
        summary: The estimates by method and metric.
        metrics: The columns.

    Returns:
        The table.
    """
    head = [f"{metric.name} {ARROWS[metric.better][0]}" for metric in metrics]
    rows = [["method", *head], ["---"] * (len(head) + 1)]
    best = {metric.name: _best(summary, metric) for metric in metrics}
    for method, own in summary.items():
        cells = [method.replace("|", r"\|")]
        for metric in metrics:
            found = own.get(metric.name)
            text = "-" if found is None else shown_interval(found)
            cells.append(f"**{text}**" if method in best[metric.name] else text)
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def latex_table(summary: Summary, metrics: Sequence[Metric]) -> str:
    r"""Write a table in LaTeX for the package booktabs, the best of each column in bold.

    Args:
        summary: The estimates by method and metric.
        metrics: The columns.

    Returns:
        A `tabular`.
    """
    best = {metric.name: _best(summary, metric) for metric in metrics}
    lines = [rf"\begin{{tabular}}{{l{'c' * len(metrics)}}}", r"\toprule"]
    head = [f"{_escaped(metric.name)} {ARROWS[metric.better][1]}" for metric in metrics]
    lines += [" & ".join(["method", *head]) + r" \\", r"\midrule"]
    for method, own in summary.items():
        cells = [_escaped(method)]
        for metric in metrics:
            found = own.get(metric.name)
            if found is None:
                cells.append("--")
                continue
            mean = f"{found.mean:.3f}"
            mean = rf"\textbf{{{mean}}}" if method in best[metric.name] else mean
            cells.append(rf"{mean} {{\scriptsize [{found.low:.3f}, {found.high:.3f}]}}")
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
