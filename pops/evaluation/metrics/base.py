"""The form of a metric, and how several run together in one pass over the stages."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from pops.datagen.stages import StageRequest
from pops.evaluation.stages import ORDER

__all__ = ["Made", "Measuring", "Metric", "Numbers", "cosine", "measure", "stages_of"]

Better = Literal["higher", "lower"]
Measuring = Generator[list[StageRequest], list[Any], float | None]
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Made:
    """A picture that was made, and all that a metric may know of what it was made of.

    Args:
        picture: the result.
        inputs: the pictures of the inputs, by the names of their slots.
        words: what each of them shows, in words.
        text: the instruction; None where there is none.
        looks: words for looks, such as colours and materials, one of which each thing has.
    """

    picture: Image.Image
    inputs: Mapping[str, Image.Image]
    words: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    looks: tuple[str, ...] = ()


class Metric:
    """Base of the metrics.

    Attributes:
        name: its name in tables and files.
        title: what it measures, in a few words.
        better: whether higher or lower numbers are better.
        share: whether its numbers are shares of what holds, from 0 to 1.
        stages: the stages whose models it asks, in the order of `ORDER`.
    """

    name: str
    title: str
    better: Better = "higher"
    share: bool = False
    stages: tuple[str, ...]

    def __call__(self, made: Made) -> Measuring:
        """Measure a picture.

        Args:
            made: The picture and what it was made of.

        Yields:
            Requests of one stage at a time, in the order of `ORDER`; their answers are sent back.

        Returns:
            The number; None where there is nothing to measure.
        """
        raise NotImplementedError


def stages_of(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """List the stages that metrics ask, in the order in which they are asked.

    Args:
        metrics: The metrics.

    Returns:
        The names of the stages.
    """
    asked = {stage for metric in metrics for stage in metric.stages}
    return tuple(stage for stage in ORDER if stage in asked)


def measure(
    metrics: Sequence[Metric], made: Made
) -> Generator[list[StageRequest], list[Any], Numbers]:
    """Measure a picture by several metrics, whose requests to a stage go together.

    Args:
        metrics: The metrics.
        made: The picture and what it was made of.

    Yields:
        Requests of one stage at a time, each stage once.

    Returns:
        The number of each metric by its name.
    """
    numbers: Numbers = {}
    running: dict[str, tuple[Measuring, list[StageRequest]]] = {}
    for metric in metrics:
        _advance(metric.name, metric(made), None, running, numbers)
    for stage in stages_of(metrics):
        waiting = {n: one for n, one in running.items() if one[1][0].stage == stage}
        if not waiting:
            continue
        answers = iter((yield [request for _, asked in waiting.values() for request in asked]))
        for name, (measuring, asked) in waiting.items():
            own = [next(answers) for _ in asked]
            _advance(name, measuring, own, running, numbers)
    assert not running, f"{', '.join(running)} asks stages in another order than {ORDER}"
    return {metric.name: numbers[metric.name] for metric in metrics}


def _advance(
    name: str,
    measuring: Measuring,
    answers: list[Any] | None,
    running: dict[str, tuple[Measuring, list[StageRequest]]],
    numbers: Numbers,
) -> None:
    """Run a metric up to its next requests, or to its number."""
    try:
        asked = next(measuring) if answers is None else measuring.send(answers)
        running[name] = measuring, asked
    except StopIteration as end:
        running.pop(name, None)
        numbers[name] = _finite(end.value)


def _finite(value: float | None) -> float | None:
    """Round a number as it is written; give None for one that is not finite."""
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the cosine of two unit vectors.

    Args:
        a: A unit vector (D,).
        b: Another.

    Returns:
        The cosine.
    """
    return float(np.dot(a, b))
