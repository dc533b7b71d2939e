"""All metrics by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pops.errors import UsageError, check_known
from pops.evaluation.metrics.base import Metric
from pops.evaluation.metrics.judged import JudgedMark
from pops.evaluation.metrics.likeness import Caption, ClipLikeness, FeatureLikeness, TextLikeness
from pops.evaluation.metrics.regions import (
    Background,
    BackgroundFeatures,
    Found,
    Gram,
    TextureTaken,
    Thing,
    ThingFeatures,
)
from pops.evaluation.metrics.several import Garments, GarmentsFound, Leak, Lost, Things
from pops.evaluation.metrics.structure import DepthAgreement, EdgeAgreement

__all__ = ["METRICS", "choose_metrics"]

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        ClipLikeness("object"),
        FeatureLikeness("object"),
        EdgeAgreement("object"),
        DepthAgreement("object"),
        Found("object"),
        Thing("object"),
        ThingFeatures("object"),
        TextLikeness(),
        Caption(),
        TextureTaken(),
        Gram(),
        Background(),
        BackgroundFeatures(),
        ClipLikeness("first"),
        ClipLikeness("second"),
        Lost(),
        Leak(),
        Things(),
        GarmentsFound(),
        Garments("clip"),
        Garments("features"),
        *(JudgedMark(slot) for slot in ("object", "texture", "background", "first", "second")),
        JudgedMark("text"),
        JudgedMark(None),
    )
}


def choose_metrics(
    names: Sequence[str], asked: Sequence[str], stages: Collection[str]
) -> tuple[list[Metric], dict[str, str]]:
    """Choose the metrics of a protocol whose models are there.

    Args:
        names: The metrics of the protocol.
        asked: The metrics that the user names; none for all.
        stages: The stages that have a model.

    Returns:
        The metrics, and for each that is left out the reason.

    Raises:
        UsageError: The user names a metric that the protocol does not have, or whose models are
            not there.
    """
    for name in asked:
        check_known("metric", name, names)
    chosen, without = [], {}
    for metric in (METRICS[name] for name in names if not asked or name in asked):
        absent = [stage for stage in metric.stages if stage not in stages]
        if not absent:
            chosen.append(metric)
            continue
        reason = f"no model answers {', '.join(absent)}"
        if metric.name in asked:
            flag = "--judge" if "judge" in absent else f"--models {absent[0]}=..."
            raise UsageError(
                f"--metrics: {metric.name} cannot be measured, since {reason}: name one by {flag}"
            )
        without[metric.name] = reason
    return chosen, without
