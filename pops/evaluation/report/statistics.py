"""Means with bootstrap intervals, shares with Wilson intervals, and differences of methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pops.errors import UsageError, install_hint
from pops.evaluation.store import PictureLine

__all__ = ["Estimate", "compare", "mean_interval", "summarise", "wilson"]

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0  # of the resamples: the same lines give the same report


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval.

    Args:
        mean: the mean.
        low: the lower end of the interval.
        high: the upper end.
        count: the number of pictures that have a number.
        missing: the number of pictures that have none.
    """

    mean: float
    low: float
    high: float
    count: int
    missing: int = 0


def mean_interval(
    values: Sequence[float], groups: Sequence[int], *, share: bool = False
) -> tuple[float, float, float]:
    """Compute a mean and its bootstrap interval.

    Groups are drawn, not values: pictures of one request differ less than those of several, and
    seeds of a request are not new requests. Percentile intervals by scipy. Where all groups are
    alike, resamples say nothing of what was not seen: of shares that are all 0 or all 1 the
    Wilson interval is given then.

    Args:
        values: The values.
        groups: The number of the request of each.
        share: Whether the values are shares from 0 to 1.

    Returns:
        The mean of the means of the groups, and both ends of the interval.

    Raises:
        UsageError: scipy is not installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise UsageError(f"intervals need scipy: {install_hint('eval')}") from error
    rows = np.asarray(values, dtype=np.float64)
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    means = np.bincount(places, rows) / np.bincount(places)
    mean = float(means.mean())
    if np.ptp(means) == 0:
        if share and mean in (0.0, 1.0):
            return mean, *wilson(round(mean * len(means)), len(means))
        return mean, mean, mean
    found = bootstrap(
        (means,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 2**22 // len(means)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return mean, float(found.low), float(found.high)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Compute the Wilson interval of a share.

    Args:
        hits: The number of those that count.
        count: The number of all.

    Returns:
        Both ends of the interval.

    Raises:
        UsageError: scipy is not installed.
    """
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise UsageError(f"intervals need scipy: {install_hint('eval')}") from error
    found = binomtest(hits, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def summarise(
    lines: Sequence[PictureLine], shares: Collection[str] = ()
) -> dict[str, dict[str, Estimate]]:
    """Summarise lines by method and metric.

    Args:
        lines: The lines of an evaluation.
        shares: The names of the metrics that are shares.

    Returns:
        The estimate of each metric by the name of the method; a metric of which a method has no
        number at all is left out of it.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for method in dict.fromkeys(line.method for line in lines):
        own = [line for line in lines if line.method == method]
        found[method] = {}
        for name in own[0].numbers:
            given = [(line.numbers[name], line.request) for line in own]
            there = [(value, request) for value, request in given if value is not None]
            if there:
                values, requests = zip(*there, strict=True)
                ends = mean_interval(values, requests, share=name in shares)
                found[method][name] = Estimate(*ends, len(there), len(own) - len(there))
    return found


def compare(lines: Sequence[PictureLine], first: str) -> dict[str, dict[str, Estimate]]:
    """Estimate how much higher a method's numbers are than those of each other one.

    Pictures are paired: those of one request and seed.

    Args:
        lines: The lines of an evaluation.
        first: The method that is compared with the others.

    Returns:
        The mean difference for each metric by the name of the other method.
    """
    by_key: dict[str, dict[tuple[int, int], Mapping[str, float | None]]] = {}
    for line in lines:
        by_key.setdefault(line.method, {})[line.request, line.seed] = line.numbers
    own = by_key.get(first, {})
    found: dict[str, dict[str, Estimate]] = {}
    for method, theirs in by_key.items():
        if method == first:
            continue
        found[method] = {}
        for name in next(iter(theirs.values())):
            pairs = [
                (a - b, key[0])
                for key in own
                if key in theirs
                if (a := own[key].get(name)) is not None
                if (b := theirs[key].get(name)) is not None
            ]
            if pairs:
                values, requests = zip(*pairs, strict=True)
                found[method][name] = Estimate(*mean_interval(values, requests), len(pairs))
    return found
