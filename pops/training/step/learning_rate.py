"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["LearningRate", "Shape"]

Shape = Literal["constant", "constant_with_warmup", "linear", "cosine"]


@dataclass(frozen=True)
class LearningRate:
    """A learning rate that rises over the first steps and then stays or falls."""

    peak: float
    shape: Shape = "constant"
    warmup: int = 0  # steps in which it rises
    steps: int = 1  # steps of the run, at whose end a falling rate is 0

    def at(self, step: int) -> float:
        """Compute the learning rate at a zero-based step.

        Args:
            step: The number of the step, the first being 0.

        Returns:
            The rate.
        """
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        length = max(1, self.steps - self.warmup)
        done = min(1.0, max(0, step - self.warmup) / length)
        falls = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return self.peak * rise * falls.get(self.shape, 1.0)
