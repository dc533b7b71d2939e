"""Where the examples of training come from: a cache of embeddings, or pictures encoded as it goes.

Both give the same batches for the same plan, but for the random choices that a cache has frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pops.prior.conditions import Conditions

__all__ = ["Batch", "Plan", "Source"]

Plan = Iterable[Sequence[tuple[int, int]]]  # for every batch, the (epoch, index) of its rows


@dataclass(frozen=True)
class Batch:
    """N training examples, ready for the prior. All on the CPU."""

    target: Tensor  # (N, D) float32, normalised embedding of the target picture
    conditions: Conditions  # tokens (N, K, D) normalised, zero where dropped; mask (N, K)
    text_embeds: Tensor | None  # (N, D) float32, un-normalised; zero where a row is drawn to none
    operator: Tensor | None = None  # (N,) the number of each row's operator, if there are several


class Source(Protocol):
    """Examples by (epoch, index). A row is a pure function of (seed, epoch, index)."""

    def __len__(self) -> int:
        """The length of an epoch."""

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """A batch for each element of the plan, in order."""
