"""Measure the pictures of every request by all metrics, a few requests at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pops.data.cache.fingerprints import folder_digest, stack_digests
from pops.datagen.engines.local import Local, schedule
from pops.datagen.sample import Sample, Script, play
from pops.datagen.stages import Stages
from pops.engine import Engine
from pops.errors import UsageError, check_known
from pops.evaluation.config import MOST_REQUESTS, EvalMetricsConfig
from pops.evaluation.metrics.base import Metric, Numbers, measure, stages_of
from pops.evaluation.metrics.table import choose_metrics
from pops.evaluation.protocols.table import PROTOCOLS
from pops.evaluation.store import Lines, read_lines
from pops.evaluation.trust.candidates import Candidate, list_candidates, make_task
from pops.evaluation.trust.ranks import CheckedRequest, Finding, MeasuredPicture, find_trust
from pops.pocket.judge import load_judge
from pops.settings.progress import Progress
from pops.settings.shard import Shard

__all__ = ["check_metrics", "measure_candidates", "rows_folder"]

AT_ONCE = 8  # requests whose pictures are made together; a killed run loses no more


def check_metrics(
    config: EvalMetricsConfig, stages: Stages, progress: Progress | None = None
) -> tuple[list[Finding], dict[str, Any]]:
    """Check all metrics of all protocols on the pocket world.

    What is measured is kept request by request, so that a run that was killed goes on.

    Args:
        config: The settings of the command.
        stages: The models.
        progress: Told how far it is.

    Returns:
        The findings, and what they depend on.

    Raises:
        UsageError: The operator is unknown, or a metric is named that no protocol has.
    """
    chosen = _choose(config, stages)
    engine = Engine.load(
        config.stack,
        config.device,
        config.dtype,
        offload=config.offload,
        operator_folders=config.operators,
    )
    judge_folder = engine.stack.prior_folder.parent / "judge"
    models = {s: asdict(stages.models[s]) for one in chosen.values() for s in stages_of(one)}
    settings = {
        "stack": config.stack,
        "weights": {**stack_digests(engine.stack), "judge": folder_digest(judge_folder)},
        "requests": config.count,
        "models": models,
    }
    folder = rows_folder(config.rows, settings, config.metrics)
    lines = Lines(folder, Shard(), CheckedRequest)
    with lines.open(settings) as done:
        for operator, metrics in chosen.items():
            first = list(PROTOCOLS).index(operator) * MOST_REQUESTS
            left = [at for at in range(config.count) if first + at not in done]
            if not left:
                continue
            task = make_task(operator, config.count, engine.stack.render_settings.size)
            left = [at for at in left if at < len(task.inputs)]
            judge = load_judge(judge_folder)
            for start in range(0, len(left), AT_ONCE):
                some = left[start : start + AT_ONCE]
                candidates = list_candidates(operator, task, some, engine, judge, progress)
                numbers = measure_candidates(candidates, metrics, stages, config.batch_size)
                for at, answers in _by_request(candidates, numbers).items():
                    lines.add(CheckedRequest(first + at, operator, answers))
                if progress:
                    progress(operator, start + len(some), len(left))
    rows = read_lines(folder, CheckedRequest)
    return [
        finding
        for operator, metrics in chosen.items()
        for finding in find_trust(operator, [r for r in rows if r.operator == operator], metrics)
    ], settings


def rows_folder(root: Path, settings: Mapping[str, Any], metrics: Sequence[str]) -> Path:
    """Name the folder of the numbers that are measured with these settings alone.

    Args:
        root: The folder of all of them.
        settings: All that the numbers depend on.
        metrics: The metrics that were asked for; none for all.

    Returns:
        The folder.
    """
    told = json.dumps([settings, list(metrics)], sort_keys=True).encode()
    return root / hashlib.sha256(told).hexdigest()[:12]


def _choose(config: EvalMetricsConfig, stages: Stages) -> dict[str, list[Metric]]:
    """Choose the metrics of each operator that are checked."""
    if config.operator != "all":
        check_known("operator", config.operator, PROTOCOLS)
    chosen: dict[str, list[Metric]] = {}
    for operator, protocol in PROTOCOLS.items():
        asked = [name for name in config.metrics if name in protocol.metrics]
        if config.operator in ("all", operator) and (asked or not config.metrics):
            chosen[operator], _ = choose_metrics(protocol.metrics, asked, stages.models)
    if not chosen:
        raise UsageError(f"--metrics: no protocol has the metric {', '.join(config.metrics)}")
    return chosen


def _by_request(
    candidates: Sequence[Candidate], numbers: Sequence[Numbers]
) -> dict[int, list[MeasuredPicture]]:
    found: dict[int, list[MeasuredPicture]] = {}
    for one, measured in zip(candidates, numbers, strict=True):
        found.setdefault(one.request, []).append(MeasuredPicture(one.kind, one.truth, measured))
    return found


def measure_candidates(
    candidates: Sequence[Candidate],
    metrics: Sequence[Metric],
    stages: Stages,
    batch_size: int,
) -> list[Numbers]:
    """Measure candidates by all metrics.

    Args:
        candidates: The candidates.
        metrics: The metrics.
        stages: The models that they ask.
        batch_size: The most requests that a model answers at once.

    Returns:
        The numbers of each candidate.
    """

    def script(index: int, attempt: int) -> Script:
        numbers = yield from measure(metrics, candidates[index].made)
        return Sample(str(index), {}, {"numbers": numbers})

    if not stages_of(metrics):  # nothing is asked
        return [_alone(script(index, 0)) for index in range(len(candidates))]
    found: dict[int, Numbers] = {}
    for one in schedule(range(len(candidates)), script, Local(stages), batch_size):
        found[one.index] = one.sample.facts["numbers"]
    return [found[index] for index in range(len(candidates))]


def _alone(script: Script) -> Numbers:
    sample = play(script, [])
    assert isinstance(sample, Sample)
    numbers: Numbers = sample.facts["numbers"]
    return numbers
