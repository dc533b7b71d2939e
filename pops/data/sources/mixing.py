"""The examples of several operators in one source, for a prior that learns them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from pops.data.order import MixedOrder
from pops.data.sources.batches import Batch, BatchIndices, BatchSource
from pops.prior.conditions import Conditions

__all__ = ["JointSource"]

_Located = tuple[np.ndarray, np.ndarray, np.ndarray]


class JointSource:
    """Gives batches of mixed rows. Each operator is equally likely, whatever its data's size."""

    def __init__(self, sources: Sequence[BatchSource]) -> None:
        self.sources = list(sources)
        self.parts = MixedOrder(tuple(len(source) for source in sources))

    def __len__(self) -> int:
        return len(self.parts)

    def batches(self, indices: BatchIndices) -> Iterator[Batch]:
        """Give a batch for each element of the indices, in order.

        Args:
            indices: For every batch, the (epoch, index) of its rows.

        Yields:
            The batches; `operator` holds the number of each row's operator.
        """
        located, *copies = tee(map(self._located, indices), len(self.sources) + 1)
        streams = [
            source.batches(_own(number, own))
            for number, (source, own) in enumerate(zip(self.sources, copies, strict=True))
        ]
        for parts, _, _ in located:
            operator = torch.from_numpy(parts)
            present = operator.unique().tolist()
            yield _merged(operator, {number: next(streams[number]) for number in present})

    def _located(self, pairs: Sequence[tuple[int, int]]) -> _Located:
        """Find the operator of every row, the record there, and how often that was shown before."""
        at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        part, record, turn = self.parts.locate(at[:, 0], at[:, 1])
        return part, record, turn


def _own(number: int, located: Iterable[_Located]) -> Iterator[list[tuple[int, int]]]:
    """Select the rows of one source; batches without any are passed over."""
    for part, record, turn in located:
        rows = part == number
        if rows.any():
            yield list(zip(turn[rows].tolist(), record[rows].tolist(), strict=True))


def _merged(operator: Tensor, batches: dict[int, Batch]) -> Batch:
    """Merge the batches of single operators; rows are in the order of `operator` (N,)."""
    first = next(iter(batches.values()))
    count, dim = len(operator), first.target.shape[1]
    length = max(batch.conditions.tokens.shape[1] for batch in batches.values())
    target = first.target.new_zeros(count, dim)
    tokens = first.target.new_zeros(count, length, dim)
    mask = torch.zeros(count, length, dtype=torch.bool)
    texts = torch.zeros_like(target)
    for number, batch in batches.items():
        rows = operator == number
        k = batch.conditions.tokens.shape[1]
        target[rows] = batch.target
        tokens[rows, :k] = batch.conditions.tokens
        mask[rows, :k] = batch.conditions.mask
        if batch.text_embeds is not None:
            texts[rows] = batch.text_embeds
    return Batch(target, Conditions(tokens, mask), texts, operator)
