"""The examples of several operators as one source, for a prior that learns them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from pops.data.order import Parts
from pops.data.source import Batch, Plan, Source
from pops.prior.conditions import Conditions

__all__ = ["JointSource"]

_Located = tuple[np.ndarray, np.ndarray, np.ndarray]


class JointSource:
    """Batches of mixed rows. Each operator is equally likely, however many records it has."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.parts = Parts(tuple(len(source) for source in sources))

    def __len__(self) -> int:
        return len(self.parts)

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """A batch for each element of the plan, in order."""
        located, *plans = tee(map(self._located, plan), len(self.sources) + 1)
        streams = [
            source.batches(_own(number, own))
            for number, (source, own) in enumerate(zip(self.sources, plans, strict=True))
        ]
        for parts, _, _ in located:
            operator = torch.from_numpy(parts)
            present = operator.unique().tolist()
            yield _merged(operator, {number: next(streams[number]) for number in present})

    def _located(self, pairs: Sequence[tuple[int, int]]) -> _Located:
        """Of every row its operator, its record there, and how often that was shown before."""
        at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        part, record, turn = self.parts.locate(at[:, 0], at[:, 1])
        return part, record, turn


def _own(number: int, located: Iterable[_Located]) -> Iterator[list[tuple[int, int]]]:
    """What is asked of one source; batches without a row of it are passed over."""
    for part, record, turn in located:
        rows = part == number
        if rows.any():
            yield list(zip(turn[rows].tolist(), record[rows].tolist(), strict=True))


def _merged(operator: Tensor, batches: dict[int, Batch]) -> Batch:
    """One batch of those of single operators, its rows in the order of `operator` (N,)."""
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
