"""The table, the figure and the page that say which metrics can be trusted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pops.errors import InputError
from pops.evaluation.report.write import versions
from pops.evaluation.trust.ranks import Finding
from pops.io.files import atomic_path
from pops.io.formats.schema import read_text

__all__ = ["draw_trust", "trust_table", "write_page", "write_trust"]

COLOURS = {"yes": "#2f7d4f", "no": "#c8502d", "open": "#7a828a"}
BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


def trust_table(findings: Sequence[Finding]) -> str:
    """Write the findings as a table in Markdown.

    Args:
        findings: The findings.

    Returns:
        The table.
    """
    rows = [
        "| operator | metric | claims | rank correlation | as a whole | rendered "
        "| truth above mean | both rendered | trusted |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in findings:
        ranks = (one.drawn, one.whole, one.rendered)
        numbers = (*ranks, one.above_mean, one.redrawn_above_mean)
        cells = [one.operator, one.metric, one.claim, *map(_shown, numbers)]
        verdict = f"**no**: {', '.join(one.failing)}" if one.failing else one.trusted
        rows.append(f"| {' | '.join([*cells, verdict])} |")
    return "\n".join(rows) + "\n"


def _shown(found: tuple[float, float, float] | None) -> str:
    return "-" if found is None else "{:.2f} [{:.2f}, {:.2f}]".format(*found)


def write_trust(
    folder: Path, findings: Sequence[Finding], settings: dict[str, Any], table: bool = True
) -> list[Path]:
    """Write the findings as JSON, as a table and as a figure.

    Args:
        folder: The folder to write into.
        findings: The findings.
        settings: What they depend on.
        table: Whether the table is a file of its own; not where a page holds it.

    Returns:
        The files that were written.

    Raises:
        OutputError: A file cannot be written.
    """
    plain = [{**asdict(one), "trusted": one.trusted, "failing": one.failing} for one in findings]
    content = {"settings": settings, "versions": versions(), "findings": plain}
    files = {
        "metrics.json": json.dumps(content, indent=1, allow_nan=False) + "\n",
        **({"metrics.md": trust_table(findings)} if table else {}),
    }
    for name, text in files.items():
        with atomic_path(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    written = [folder / name for name in files]
    if draw_trust(findings, folder / "metrics.png"):
        written.append(folder / "metrics.png")
    return written


def draw_trust(findings: Sequence[Finding], path: Path) -> bool:
    """Draw for each metric its rank correlation and how often it ranks the truth above the mean.

    Args:
        findings: The findings.
        path: The picture to write.

    Returns:
        True; False where matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{one.operator}: {one.metric}" for one in findings]
    figure, axes = pyplot.subplots(
        1, 2, figsize=(9, 0.24 * len(names) + 1.2), constrained_layout=True, sharey=True
    )
    titles = ("rank correlation with the claim (Somers' D)", "share: truth above the mean")
    for axis, field, title, none in zip(
        axes, ("drawn", "above_mean"), titles, (0.0, 0.5), strict=True
    ):
        axis.axvline(none, color="#999999", lw=0.8)
        for at, one in enumerate(findings):
            found = getattr(one, field)
            if found is None:
                continue
            mean, low, high = found
            colour = COLOURS[one.trusted]
            ends = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            axis.errorbar(mean, at, xerr=ends, fmt="o", ms=4, capsize=2, color=colour)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", lw=0.4, alpha=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=110)
    pyplot.close(figure)
    return True


def write_page(page: Path, findings: Sequence[Finding], settings: dict[str, Any]) -> None:
    """Write the table of a page anew, between its two marks.

    Args:
        page: A Markdown page.
        findings: The findings.
        settings: What they depend on, which the page says under the table.

    Raises:
        InputError: The page has no marks.
        OutputError: It cannot be written.
    """
    text = read_text(page, InputError)
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(
            f"{page} has no place for the table: write the lines {BEGIN} and {END} into it"
        )
    models = sorted({f"{one['name']}@{one['revision']}" for one in settings["models"].values()})
    weights = ", ".join(f"{part} {digest}" for part, digest in settings["weights"].items())
    count = Counter(one.trusted for one in findings)
    said = (
        f"Of {len(findings)} metrics {count['yes']} can be trusted, {count['no']} cannot, and "
        f"{count['open']} are open. {settings['requests']} requests of each operator, drawn at "
        f"random, on {settings['stack']}; models: {', '.join(models)}; weights: {weights}."
    )
    table = f"{before}{BEGIN}\n\n{trust_table(findings)}\n{said}\n\n{END}{after}"
    with atomic_path(page) as part:
        part.write_text(table, encoding="utf-8")
