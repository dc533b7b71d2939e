"""Batches of training examples, and the sources that give them.

A source reads a cache of embeddings, or pictures that are encoded as training goes on. Both give
the same batches for the same indices, but for the random choices that a cache has frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pops.prior.conditions import Conditions

__all__ = ["Batch", "BatchIndices", "BatchSource"]

BatchIndices = Iterable[Sequence[tuple[int, int]]]  # for every batch, (epoch, index) of its rows


@dataclass(frozen=True)
class Batch:
    """N training examples, ready for the prior, on the CPU."""

    target: Tensor  # (N, D) float32, normalised embedding of the target picture
    conditions: Conditions  # tokens (N, K, D) normalised, zero where dropped; mask (N, K)
    text_embeds: Tensor | None  # (N, D) float32, un-normalised; zero: no target text
    operator: Tensor | None = None  # (N,) the number of each row's operator, if there are several


class BatchSource(Protocol):
    """Training examples by (epoch, index). A row is a pure function of (seed, epoch, index)."""

    def __len__(self) -> int:
        """Count the examples of an epoch."""

    def batches(self, indices: BatchIndices) -> Iterator[Batch]:
        """Give a batch for each element of the indices, in order.

        Args:
            indices: For every batch, the (epoch, index) of its rows.

        Yields:
            The batches.
        """
