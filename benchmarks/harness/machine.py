"""The limits of this machine, and a stopwatch for the work that is done on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TypeVar

import torch

__all__ = [
    "Laps",
    "Limits",
    "Stopwatch",
    "cores",
    "device_name",
    "measure_limits",
    "peak_bytes",
    "step_seconds",
    "synchronise",
]

Result = TypeVar("Result")


def cores() -> int:
    """Count the CPU cores that this process may use.

    Returns:
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given.

    Args:
        device: Any device; only a GPU is waited for.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device, threads: int) -> str:
    """Name a device for a report.

    Args:
        device: The device.
        threads: The threads by which a CPU is named.

    Returns:
        A few words.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{threads} threads on the CPU" if device.type == "cpu" else f"the device {device}"


def peak_bytes(device: torch.device) -> int | None:
    """Read the most memory that was in use on a CUDA device since the last call.

    Args:
        device: The device.

    Returns:
        Bytes; None on other devices.
    """
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


@dataclass(frozen=True)
class Laps:
    """One run: the seconds until its first step was done, those of each later step, and all."""

    first: float
    later: tuple[float, ...]
    total: float


class Stopwatch:
    """Times runs that tell of every step they have done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[float] = []

    def lap(self, *_: object) -> None:
        """Note that a step is done: pass this as the run's callable.

        Args:
            _: What the run tells of the step; it is not used.
        """
        synchronise(self.device)
        self._marks.append(perf_counter())

    def total(self, run: Callable[[], Result]) -> tuple[Result, float]:
        """Time any run.

        Args:
            run: The work.

        Returns:
            The result of the run, and its seconds.
        """
        synchronise(self.device)
        start = perf_counter()
        result = run()
        synchronise(self.device)
        return result, perf_counter() - start

    def time(self, run: Callable[[], Result]) -> tuple[Result, Laps]:
        """Time a run of at least one step.

        Args:
            run: The work, which calls `lap` after every step.

        Returns:
            The result of the run, and its times.
        """
        self._marks = []
        self.lap()
        result = run()
        self.lap()
        start, *steps, end = self._marks
        later = tuple(b - a for a, b in zip(steps, steps[1:], strict=False))
        return result, Laps(steps[0] - start, later, end - start)


@dataclass(frozen=True)
class Limits:
    """The most that was measured."""

    flops: float  # multiplications and additions a second, in a large square matrix product
    bandwidth: float  # bytes a second, read or written

    def __or__(self, other: Limits) -> Limits:
        return Limits(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth))


def measure_limits(
    device: torch.device, dtype: torch.dtype, size: int = 4096, mebibytes: int = 1024
) -> Limits:
    """Measure the most that the machine can do.

    Bandwidth is the better of a matrix times a vector, which reads a matrix once, and a copy.

    Args:
        device: The device that computes.
        dtype: The number format.
        size: The side of the square matrices that are multiplied.
        mebibytes: The memory that is read and copied.

    Returns:
        Operations and bytes a second.
    """
    a = torch.rand(size, size, device=device, dtype=dtype)
    side = int((mebibytes * 2**20 / dtype.itemsize) ** 0.5)
    big = torch.ones(side, side, device=device, dtype=dtype)
    vector, copy = big[0].clone(), torch.empty_like(big)
    bytes_read = big.numel() * dtype.itemsize
    return Limits(
        flops=2 * size**3 / _fastest(device, lambda: torch.mm(a, a)),
        bandwidth=max(
            bytes_read / _fastest(device, lambda: torch.mv(big, vector)),
            2 * bytes_read / _fastest(device, lambda: copy.copy_(big)),
        ),
    )


def _fastest(device: torch.device, run: Callable[[], object], tries: int = 4) -> float:
    """Time the fastest of some runs; the first, which also warms up, counts only if it is that."""
    seconds = []
    for _ in range(tries):
        synchronise(device)
        start = perf_counter()
        run()
        synchronise(device)
        seconds.append(perf_counter() - start)
    return min(seconds)


def step_seconds(runs: Sequence[Laps]) -> float:
    """Compute the median step of some runs, the first step of each left out.

    Args:
        runs: Times of runs.

    Returns:
        Seconds.
    """
    return median(seconds for run in runs for seconds in run.later)
