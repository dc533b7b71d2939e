"""The functions of the commands that evaluate operators."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from importlib.util import find_spec

from pops.errors import install_hint
from pops.evaluation.config import (
    EvalClothesConfig,
    EvalInstructConfig,
    EvalMetricsConfig,
    EvalSceneConfig,
    EvalStudyConfig,
    EvalStudyReportConfig,
    EvalTexturingConfig,
    EvalUnionConfig,
)
from pops.evaluation.run import evaluate
from pops.io.files import make_folder
from pops.operators import find_operator
from pops.settings.commands import EvalPocketConfig
from pops.settings.progress import ProgressBars

__all__ = [
    "eval_clothes",
    "eval_instruct",
    "eval_metrics",
    "eval_pocket",
    "eval_scene",
    "eval_study",
    "eval_study_report",
    "eval_texturing",
    "eval_union",
]


def eval_pocket(config: EvalPocketConfig) -> int:
    """Run `pops eval pocket`: print the numbers of the pocket benchmark, as a table or as JSON.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    if config.operator != "all":
        find_operator(config.operator)
    from pops.evaluation.pocket import run
    from pops.evaluation.pocket.intervals import share_intervals

    with closing(ProgressBars()) as progress:
        report = run.evaluate(config.operator, weights=config.weights, progress=progress)
    intervals: dict[str, dict[str, tuple[float, float]]] = {subject: {} for subject in report}
    if find_spec("scipy"):
        intervals = {subject: share_intervals(numbers) for subject, numbers in report.items()}
    else:
        print(f"without intervals, which need scipy: {install_hint('eval')}", file=sys.stderr)
    if config.json:
        print(json.dumps({s: {**report[s], "intervals": intervals[s]} for s in report}))
        return 0
    for subject, numbers in report.items():
        print(subject)
        for name, value in numbers.items():
            low, high = intervals[subject].get(name, (None, None))
            ends = "" if low is None else f"  [{low:.3g}, {high:.3g}]"
            print(f"  {name.replace('_', ' '):<32}{value:>10.4g}{ends}")
    return 0


def eval_instruct(config: EvalInstructConfig) -> int:
    """Run `pops eval instruct`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return evaluate("instruct", config)


def eval_texturing(config: EvalTexturingConfig) -> int:
    """Run `pops eval texturing`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return evaluate("texturing", config)


def eval_scene(config: EvalSceneConfig) -> int:
    """Run `pops eval scene`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return evaluate("scene", config)


def eval_union(config: EvalUnionConfig) -> int:
    """Run `pops eval union`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return evaluate("union", config)


def eval_clothes(config: EvalClothesConfig) -> int:
    """Run `pops eval clothes`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return evaluate("clothes", config)


def eval_metrics(config: EvalMetricsConfig) -> int:
    """Run `pops eval metrics`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    stages = config.load_stages()
    from pops.evaluation.trust.check import check_metrics
    from pops.evaluation.trust.write import write_page, write_trust

    folder = make_folder(config.out)
    with closing(ProgressBars()) as progress:
        findings, settings = check_metrics(config, stages, progress)
    for path in write_trust(folder, findings, settings, table=config.page is None):
        print(path)
    if config.page is not None:
        write_page(config.page, findings, settings)
        print(config.page)
    failed = [f"{one.operator}: {one.metric}" for one in findings if one.trusted == "no"]
    print(f"not to be trusted: {', '.join(failed) or 'none'}", file=sys.stderr)
    return 0


def eval_study(config: EvalStudyConfig) -> int:
    """Run `pops eval study`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    from pops.evaluation.study.make import make_study

    page, answers = make_study(config)
    print(f"{page}  (put the files of the raters into {answers})")
    return 0


def eval_study_report(config: EvalStudyReportConfig) -> int:
    """Run `pops eval study-report`.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    from pops.evaluation.study.report import report_study

    report = report_study(config.study)
    if config.json:
        print(json.dumps(report))
        return 0
    print(f"{report['question']}  ({report['raters']} raters, {report['answers']} answers)")
    for title in ("shares", "preferred"):
        for name, one in report[title].items():
            place = report.get(name, "cannot tell")
            ends = f"[{one['low']:.1%}, {one['high']:.1%}]"
            print(
                f"  {title:<10}{name:<8}{one['share']:>7.1%} {ends:<18}{one['count']:>6}  {place}"
            )
    alpha = report["agreement"]
    print(f"  agreement (Krippendorff's alpha): {'none' if alpha is None else f'{alpha:.3f}'}")
    return 0
