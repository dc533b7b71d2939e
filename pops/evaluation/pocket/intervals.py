"""The 95% intervals of the shares of the pocket benchmark, by Wilson."""

from __future__ import annotations

from collections.abc import Mapping

from pops.evaluation.report.statistics import wilson

__all__ = ["REQUESTS", "share_intervals"]

REQUESTS = "requests"
NO_SHARES = (REQUESTS, "chance")  # and places, such as the mean rank
EXACT = 1e-3  # how near to whole the number of requests must be: shares are in single precision


def share_intervals(numbers: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Compute the intervals of the shares of requests that a report holds.

    Args:
        numbers: What `evaluate` says of an operator, with the number of requests.

    Returns:
        Both ends by name; what is not a share of whole requests is left out, and so is all of a
        report without the number of requests.
    """
    count = round(numbers.get(REQUESTS, 0))
    found = {}
    for name, share in numbers.items():
        hits = share * count
        whole = count and abs(hits - round(hits)) < EXACT and 0 <= round(hits) <= count
        if whole and name not in NO_SHARES and not name.endswith("mean_rank"):
            found[name] = wilson(round(hits), count)
    return found
