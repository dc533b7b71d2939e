"""Measure candidates, and rank them by the metrics and by the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pops.datagen.engines.local import Local, schedule
from pops.datagen.sample import Sample, Script, play
from pops.datagen.stages import Stages
from pops.engine import Engine
from pops.errors import UsageError, install_hint
from pops.evaluation.config import EvalMetricsConfig
from pops.evaluation.metrics.base import Metric, Numbers, measure, stages_of
from pops.evaluation.metrics.table import choose_metrics
from pops.evaluation.protocols.table import PROTOCOLS
from pops.evaluation.report.statistics import mean_interval, wilson
from pops.evaluation.trust.candidates import DRAWN, Candidate, list_candidates
from pops.evaluation.trust.truth import claimed
from pops.pocket.judge import load_judge
from pops.settings.progress import Progress

__all__ = ["Finding", "check_metrics", "find_trust", "measure_candidates"]


@dataclass(frozen=True)
class Finding:
    """How far a metric can be trusted for an operator.

    Args:
        operator: the operator.
        metric: the metric.
        claim: the part of the truth that it claims to measure.
        drawn: its mean rank correlation with the claim over drawn pictures, whose truth is exact,
            with the ends of its interval; None where nothing can be ranked.
        rendered: the same over rendered pictures, whose truth the classifier tells.
        whole: the same as `drawn`, with how right a picture is as a whole.
        above_mean: the share of requests in which it ranks the truth above the mean of the
            inputs, with the ends of its interval.
        requests: the number of requests in which both have a number.
    """

    operator: str
    metric: str
    claim: str
    drawn: tuple[float, float, float] | None
    rendered: tuple[float, float, float] | None
    whole: tuple[float, float, float] | None
    above_mean: tuple[float, float, float] | None
    requests: int

    @property
    def trusted(self) -> bool:
        """Whether it ranks the truth above the mean, and pictures by what it claims, surely."""
        ranks = self.drawn is not None and self.drawn[1] > 0
        return ranks and self.above_mean is not None and self.above_mean[1] > 0.5


def check_metrics(
    config: EvalMetricsConfig, stages: Stages, progress: Progress | None = None
) -> tuple[list[Finding], dict[str, Any]]:
    """Check all metrics of all protocols on the pocket world.

    Args:
        config: The settings of the command.
        stages: The models.
        progress: Told how far it is.

    Returns:
        The findings, and what they depend on.

    Raises:
        UsageError: A metric is named that no protocol has.
    """
    engine = Engine.load(
        config.stack,
        config.device,
        config.dtype,
        offload=config.offload,
        operator_folders=config.operators,
    )
    judge = load_judge(engine.stack.prior_folder.parent / "judge")
    findings: list[Finding] = []
    models: dict[str, Any] = {}
    for operator, protocol in PROTOCOLS.items():
        asked = [name for name in config.metrics if name in protocol.metrics]
        if config.metrics and not asked:
            continue
        metrics, _ = choose_metrics(protocol.metrics, asked, stages.models)
        candidates = list_candidates(operator, config.count, engine, judge, progress)
        numbers = measure_candidates(candidates, metrics, stages, config.batch_size, progress)
        findings += find_trust(operator, candidates, numbers, metrics)
        models |= {stage: asdict(stages.models[stage]) for stage in stages_of(metrics)}
    if not findings:
        raise UsageError(f"--metrics: no protocol has {', '.join(config.metrics)}")
    settings = {"stack": config.stack, "requests": config.count, "models": models}
    return findings, settings


def measure_candidates(
    candidates: Sequence[Candidate],
    metrics: Sequence[Metric],
    stages: Stages,
    batch_size: int,
    progress: Progress | None = None,
) -> list[Numbers]:
    """Measure candidates by all metrics.

    Args:
        candidates: The candidates.
        metrics: The metrics.
        stages: The models that they ask.
        batch_size: The most requests that a model answers at once.
        progress: Told how far it is.

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
        if progress:
            progress("measure", len(found), len(candidates))
    return [found[index] for index in range(len(candidates))]


def _alone(script: Script) -> Numbers:
    sample = play(script, [])
    assert isinstance(sample, Sample)
    numbers: Numbers = sample.facts["numbers"]
    return numbers


def find_trust(
    operator: str,
    candidates: Sequence[Candidate],
    numbers: Sequence[Numbers],
    metrics: Sequence[Metric],
) -> list[Finding]:
    """Find how far metrics can be trusted.

    Ranks are compared within each request, and their correlations averaged over requests. A
    picture of which a metric has no number ranks last: what cannot be found is not kept.

    Args:
        operator: The operator.
        candidates: The pictures.
        numbers: The numbers of each.
        metrics: The metrics.

    Returns:
        A finding for each metric.
    """
    by_request: dict[int, list[int]] = {}
    for at, candidate in enumerate(candidates):
        by_request.setdefault(candidate.request, []).append(at)
    found = []
    for metric in metrics:
        values = _goodness(metric, numbers)
        claim = claimed(metric.name)
        above = _above_mean(candidates, values, by_request.values())
        share = (sum(above) / len(above), *wilson(sum(above), len(above))) if above else None

        def ranks(kinds: Sequence[str], part: str, own: list[float] = values) -> _Interval:
            return _correlation(candidates, own, by_request, kinds, part)

        rendered = sorted({one.kind for one in candidates} - {*DRAWN})
        found.append(
            Finding(
                operator,
                metric.name,
                claim,
                ranks(DRAWN, claim),
                ranks(rendered, claim),
                ranks(DRAWN, "whole"),
                share,
                len(above),
            )
        )
    return found


_Interval = tuple[float, float, float] | None


def _goodness(metric: Metric, numbers: Sequence[Numbers]) -> list[float]:
    """Turn numbers so that higher is better; one that is missing is worse than all."""
    sign = 1.0 if metric.better == "higher" else -1.0
    given = (own.get(metric.name) for own in numbers)
    return [float("-inf") if value is None else sign * value for value in given]


def _above_mean(
    candidates: Sequence[Candidate], values: Sequence[float], requests: Sequence[Sequence[int]]
) -> list[bool]:
    """Tell for each request whether the truth ranks above the mean; where both rank alike, not."""
    found = []
    for places in requests:
        by_kind = {candidates[at].kind: values[at] for at in places}
        if "truth" in by_kind and "mean" in by_kind:
            found.append(by_kind["truth"] > by_kind["mean"])
    return found


def _correlation(
    candidates: Sequence[Candidate],
    values: Sequence[float],
    by_request: Mapping[int, Sequence[int]],
    kinds: Sequence[str],
    part: str,
) -> _Interval:
    """Compute Spearman's rank correlation within each request, and its mean over requests."""
    try:
        from scipy.stats import rankdata, spearmanr
    except ImportError as error:
        raise UsageError(f"ranks need scipy: {install_hint('eval')}") from error
    found: list[float] = []
    requests: list[int] = []
    for request, places in by_request.items():
        own = [at for at in places if candidates[at].kind in kinds]
        truth = [candidates[at].truth[part] for at in own]
        ranks = rankdata([values[at] for at in own])
        if len(set(truth)) < 2:
            continue
        # A metric that gives the same to all ranks nothing.
        flat = len(set(ranks)) < 2
        found.append(0.0 if flat else float(spearmanr(ranks, truth).statistic))
        requests.append(request)
    return mean_interval(found, requests) if found else None
