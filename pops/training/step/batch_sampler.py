"""The rows of every step, with their noise and timesteps: functions of seed and step alone.

A step takes `total` rows of one endless order. They are divided among the processes and the
accumulated batches. Neither changes which rows a step has, nor the noise of a row.
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
    """Chooses the rows of one process: in every step, `accumulation` batches of `batch` rows."""

    batch: int
    accumulation: int = 1
    rank: int = 0
    processes: int = 1

    @property
    def total(self) -> int:
        """The number of rows of all processes in one step."""
        return self.batch * self.accumulation * self.processes

    def rows(self, micro: int) -> slice:
        """Find the rows of one batch among the rows of its step.

        Args:
            micro: The number of the batch in the step of this process.

        Returns:
            Their places in the step.
        """
        start = (micro * self.processes + self.rank) * self.batch
        return slice(start, start + self.batch)

    def batches(self, order: Order, first: int, last: int) -> Iterator[Sequence[tuple[int, int]]]:
        """List the rows of every batch of some steps.

        Args:
            order: From a place in the endless order to (epoch, record).
            first: The first step.
            last: The step after the last one.

        Yields:
            For every batch, the (epoch, record) of its rows.
        """
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
        """Draw the noise and timesteps of a step.

        Args:
            seed: The seed of the run.
            step: The step.
            rows: The number of its rows, over all processes.
            dim: The length of an embedding.
            timesteps: The number of timesteps of the schedule.

        Returns:
            The noise of all rows.
        """
        generator = torch.Generator().manual_seed(_number(seed, step, "noise"))
        t = torch.randint(timesteps, (rows,), generator=generator)
        return cls(torch.randn(rows, dim, generator=generator), t)

    def of_rows(self, rows: slice) -> StepNoise:
        """Take the noise of some rows.

        Args:
            rows: Their places in the step.

        Returns:
            Their noise and timesteps.
        """
        return StepNoise(self.noise[rows], self.t[rows])


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Seed the global generators, which only dropout uses, for one process and step.

    Args:
        seed: The seed of the run.
        step: The step.
        rank: The number of the process.
    """
    torch.manual_seed(_number(seed, step, f"dropout/{rank}"))


def _number(seed: int, step: int, what: str) -> int:
    """Make a number that differs for every seed, step and purpose."""
    digest = hashlib.blake2b(f"{seed}/{step}/{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
