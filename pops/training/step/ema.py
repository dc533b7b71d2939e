"""The exponential moving average (EMA) of trained weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["update_ema"]


@torch.no_grad()
def update_ema(
    average: Sequence[Tensor], parameters: Sequence[Tensor], decay: float, step: int
) -> None:
    """Move an average of weights towards the present weights, in place.

    Early in a run the average is of the last few steps: after n steps it keeps no more than
    (1 + n) / (10 + n) of its value.

    Args:
        average: The average of each parameter.
        parameters: The parameters, in the same order.
        decay: The share of the average that every step keeps, at most.
        step: The number of steps taken so far.
    """
    keep = min(decay, (1 + step) / (10 + step))
    for mean, parameter in zip(average, parameters, strict=True):
        mean.lerp_(parameter, 1 - keep)
