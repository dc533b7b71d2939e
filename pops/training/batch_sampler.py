"""Who trains on what: rows of examples, noise and timesteps as functions of seed and step alone.

A step takes `total` rows of one endless order. They are dealt to processes and accumulated
batches such that neither changes which rows a step has, nor their noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BatchSampler", "StepNoise", "seed_dropout"]

Order = Callable[[int], tuple[int, int]]  # position -> (epoch, record)


@dataclass(frozen=True)
class BatchSampler:
    """The rows of one process: `accumulation` batches of `batch` rows in every step."""

    batch: int
    accumulation: int = 1
    rank: int = 0
    processes: int = 1

    @property
    def total(self) -> int:
        """Rows of all processes in one step."""
        return self.batch * self.accumulation * self.processes

    def rows(self, micro: int) -> slice:
        """Which of a step's rows are this process's batch number `micro`."""
        start = (micro * self.processes + self.rank) * self.batch
        return slice(start, start + self.batch)

    def plan(self, order: Order, first: int, last: int) -> Iterator[Sequence[tuple[int, int]]]:
        """For every batch of the steps first..last-1, the (epoch, record) of its rows."""
        for step in range(first, last):
            for micro in range(self.accumulation):
                rows = self.rows(micro)
                start = step * self.total
                yield [order(start + row) for row in range(rows.start, rows.stop)]


@dataclass(frozen=True)
class StepNoise:
    """Noise (N, D) and timesteps (N,) of the rows of one step."""

    noise: Tensor
    t: Tensor

    @classmethod
    def of_step(cls, seed: int, step: int, rows: int, dim: int, timesteps: int) -> StepNoise:
        generator = torch.Generator().manual_seed(_number(seed, step, "noise"))
        t = torch.randint(timesteps, (rows,), generator=generator)
        return cls(torch.randn(rows, dim, generator=generator), t)

    def of_rows(self, rows: slice) -> StepNoise:
        return StepNoise(self.noise[rows], self.t[rows])


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Seed the global generators, of which only dropout draws, for one process and step."""
    torch.manual_seed(_number(seed, step, f"dropout/{rank}"))


def _number(seed: int, step: int, what: str) -> int:
    """A number of its own for every seed, step and purpose."""
    digest = hashlib.blake2b(f"{seed}/{step}/{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
