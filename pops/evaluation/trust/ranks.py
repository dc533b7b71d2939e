"""How far metrics rank pictures as the truth does, and the verdicts that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from pops.errors import UsageError, install_hint
from pops.evaluation.metrics.base import Metric, Numbers
from pops.evaluation.report.statistics import mean_interval, wilson
from pops.evaluation.store import Indexed
from pops.evaluation.trust.candidates import DRAWN
from pops.evaluation.trust.truth import claimed
from pops.io.formats.schema import Text

__all__ = ["MeasuredPicture", "CheckedRequest", "Finding", "find_trust", "rank_correlation"]

_Interval = tuple[float, float, float] | None
FEWEST = 5  # requests whose pictures differ in the truth; of fewer nothing is said


class MeasuredPicture(msgspec.Struct):
    """A picture that was measured.

    Attributes:
        kind: Where it comes from.
        truth: How right it is, part by part.
        numbers: The number of each metric.
    """

    kind: Text
    truth: dict[str, float]
    numbers: Numbers


class CheckedRequest(Indexed):
    """The line of a request: all pictures that answer it, and what every metric says of them.

    Attributes:
        operator: The operator.
        answers: Its pictures.
    """

    operator: Text
    answers: list[MeasuredPicture]


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
        above_mean: the share of requests in which it ranks the true picture above what is rendered
            of the mean of the inputs, with the ends of its interval.
        redrawn_above_mean: the same of what is rendered of the true picture's embedding: both
            went through the renderer.
        requests: the number of requests.
    """

    operator: str
    metric: str
    claim: str
    drawn: _Interval
    rendered: _Interval
    whole: _Interval
    above_mean: _Interval
    redrawn_above_mean: _Interval
    requests: int

    @property
    def failing(self) -> tuple[Literal["claim", "mean"], ...]:
        """The tests that it fails, by intervals that lie at chance or below.

        `claim`: it does not rank pictures by what it claims; `mean`: it does not rank the truth
        above the mean of the inputs, and says nothing without the mean beside it.
        """
        return tuple(name for name, found, chance in self._tests if found and found[2] <= chance)

    @property
    def trusted(self) -> Literal["yes", "no", "open"]:
        """Whether it ranks pictures by what it claims, and the truth above the mean.

        `yes` where both intervals lie above chance, `no` where it fails a test, and `open` where
        there are too few requests to tell.
        """
        if self.failing:
            return "no"
        sure = all(found and found[1] > chance for _, found, chance in self._tests)
        return "yes" if sure else "open"

    @property
    def _tests(self) -> tuple[tuple[Literal["claim", "mean"], _Interval, float], ...]:
        return ("claim", self.drawn, 0.0), ("mean", self.above_mean, 0.5)


def find_trust(
    operator: str, requests: Sequence[CheckedRequest], metrics: Sequence[Metric]
) -> list[Finding]:
    """Find how far metrics can be trusted.

    Pictures are compared within each request alone, and what is found is averaged over requests. A
    picture of which a metric has no number ranks last: what cannot be found is not kept.

    Args:
        operator: The operator.
        requests: What was measured of each request to it.
        metrics: The metrics.

    Returns:
        A finding for each metric.
    """
    kinds = {answer.kind for request in requests for answer in request.answers}
    rendered = sorted(kinds - {*DRAWN})
    found = []
    for metric in metrics:
        claim = claimed(metric.name)
        found.append(
            Finding(
                operator,
                metric.name,
                claim,
                _correlation(requests, metric, DRAWN, claim),
                _correlation(requests, metric, rendered, claim),
                _correlation(requests, metric, DRAWN, "whole"),
                _share_above(requests, metric, "truth", "mean"),
                _share_above(requests, metric, "redrawn", "mean"),
                len(requests),
            )
        )
    return found


def _goodness(metric: Metric, answers: Sequence[MeasuredPicture]) -> list[float]:
    """Turn numbers so that higher is better; one that is missing is worse than all."""
    sign = 1.0 if metric.better == "higher" else -1.0
    given = (answer.numbers.get(metric.name) for answer in answers)
    return [float("-inf") if value is None else sign * value for value in given]


def _share_above(
    requests: Sequence[CheckedRequest], metric: Metric, kind: str, other: str
) -> _Interval:
    """Find the share of requests in which one kind ranks above another; alike counts as not."""
    above = []
    for request in requests:
        by_kind = {answer.kind: answer for answer in request.answers}
        if kind in by_kind and other in by_kind:
            better, worse = _goodness(metric, (by_kind[kind], by_kind[other]))
            above.append(better > worse)
    if len(above) < FEWEST:
        return None
    return sum(above) / len(above), *wilson(sum(above), len(above))


def _correlation(
    requests: Sequence[CheckedRequest], metric: Metric, kinds: Sequence[str], part: str
) -> _Interval:
    """Compute Somers' D of a metric within each request, and its mean over requests."""
    found: list[float] = []
    numbers: list[int] = []
    for request in requests:
        own = [answer for answer in request.answers if answer.kind in kinds]
        ordered = rank_correlation([a.truth[part] for a in own], _goodness(metric, own))
        if ordered is not None:
            found.append(ordered)
            numbers.append(request.index)
    return mean_interval(found, numbers) if len(found) >= FEWEST else None


def rank_correlation(truth: Sequence[float], values: Sequence[float]) -> float | None:
    """Compute Somers' D: how much more often pairs are ranked rightly than wrongly.

    Of all pairs that differ in the truth, those that the values rank as the truth does, less those
    that they rank the other way, as a share; pairs of equal values count as neither. Pictures that
    are equally right are not compared, so that 1 can be reached (Somers 1962).

    Args:
        truth: How right each picture is.
        values: The number of each, higher where it is better; not finite only as -inf.

    Returns:
        From -1 to 1, where 0 is chance; None where all are equally right.

    Raises:
        UsageError: scipy is not installed.
    """
    try:
        from scipy.stats import rankdata, somersd
    except ImportError as error:
        raise UsageError(f"ranks need scipy: {install_hint('eval')}") from error
    if len(set(truth)) < 2:
        return None
    ranks = rankdata(values)  # an infinity is not a number to scipy
    if len(set(ranks)) < 2:
        return 0.0  # what gives the same to all ranks nothing
    return float(somersd(rankdata(truth), ranks).statistic)
