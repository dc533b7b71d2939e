"""Marks of a vision-language model."""

from __future__ import annotations

from pops.evaluation.metrics.base import Made, Measuring, Metric
from pops.evaluation.stages import Judge

__all__ = ["JudgedMark"]

TEXT = "text"


class JudgedMark(Metric):
    """How well an input is kept, from 1 to 5, as a vision-language model says.

    It is asked of all inputs at once; where it does not answer, there is no number.
    """

    stages = ("judge",)

    def __init__(self, slot: str | None) -> None:
        self.slot = slot
        self.name = f"judge_{slot or 'mean'}"
        self.title = f"mark of the judge for the {slot}" if slot else "mean mark of the judge"

    def __call__(self, made: Made) -> Measuring:
        inputs = tuple(made.inputs.items())
        text = ((TEXT, made.text),) if made.text is not None else ()
        (marks,) = yield [Judge(made.picture, (*inputs, *text))]
        asked = [self.slot] if self.slot else list(marks)
        given = [marks[name] for name in asked if marks.get(name) is not None]
        return sum(given) / len(given) if given else None
