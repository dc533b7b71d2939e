"""The linear layers of pops beside those of torch, for few rows on a CPU.

python -m benchmarks.linear --json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import process_time

import torch
from torch import Tensor, nn

from benchmarks.harness.command import run_benchmark
from pops.prior.int8 import Int8Linear
from pops.prior.linear import Linear
from pops.settings.fields import THREADS, Range, Settings, setting

__all__ = ["LinearBenchmark", "Report", "main", "measure"]

# Outputs and inputs in widths: Q, K and V; what attention gives; the feed-forward layer.
SHAPES = ((3, 1), (1, 1), (4, 1), (1, 4))
Layers = Sequence[Callable[[Tensor], Tensor]]


@dataclass(frozen=True, kw_only=True)
class LinearBenchmark(Settings):
    """Time the linear layers of one transformer block of the prior, in ways that take turns.

    The ways are torch's own layers in float32, those of pops in float32, torch's own in bfloat16,
    and those of pops with weights of 8 bits, which compute in float32. The time is that of the
    processor, so that other programs on the machine matter less.
    """

    rows: tuple[int, ...] = setting(
        (3, 6, 9, 24, 41, 64, 96, 200), "rows of activations", within=Range(1, 100_000)
    )
    width: int = setting(2048, "width of the block", within=Range(1, 100_000))
    repeats: int = setting(7, "turns of each way", within=Range(1, 1000))
    threads: int = setting(1, "CPU threads", within=THREADS)
    json: bool = setting(False, "print one JSON object as the last line")

    examples = ("python -m benchmarks.linear --rows 6,41 --threads 2",)


@dataclass(frozen=True)
class Report:
    """The median seconds of a block's layers, by the number of rows and the way."""

    settings: LinearBenchmark
    seconds: dict[int, dict[str, float]]

    def values(self) -> dict[str, float]:
        """List every way's time beside that of torch's own layers.

        Returns:
            The ratios by name; below 1 is faster.
        """
        return {
            f"{way}_rows{rows}": own[way] / own["torch"]
            for rows, own in self.seconds.items()
            for way in own
            if way != "torch"
        }


@torch.inference_mode()
def measure(settings: LinearBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The times.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    width = settings.width
    sizes = [(width * inputs, width * outputs) for outputs, inputs in SHAPES]
    own = [nn.Linear(*size) for size in sizes]
    ways: dict[str, Layers] = {
        "torch": own,
        "pops": [_ours(layer) for layer in own],
        "bfloat16": [nn.Linear(*size, dtype=torch.bfloat16) for size in sizes],
        "int8": [Int8Linear(layer) for layer in own],
    }
    return Report(settings, {rows: _take_turns(ways, rows, settings) for rows in settings.rows})


def _ours(layer: nn.Linear) -> Linear:
    with torch.device("meta"):
        ours = Linear(layer.in_features, layer.out_features)
    ours.weight, ours.bias = layer.weight, layer.bias
    return ours


def _take_turns(ways: dict[str, Layers], rows: int, settings: LinearBenchmark) -> dict[str, float]:
    inputs = [torch.randn(rows, settings.width * size) for _, size in SHAPES]
    halves = [x.bfloat16() for x in inputs]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(settings.repeats + 1):
        for way, layers in ways.items():
            began = process_time()
            for layer, x in zip(layers, halves if way == "bfloat16" else inputs, strict=True):
                layer(x)
            seconds[way].append(process_time() - began)
    return {way: median(own[1:]) for way, own in seconds.items()}  # the first is a warm-up


def show(report: Report) -> str:
    """Write the report as text."""
    ways = list(next(iter(report.seconds.values())))
    lines = [f"{'rows':>6}" + "".join(f"{way:>12}" for way in ways) + "   (ms of processor time)"]
    for rows, own in report.seconds.items():
        lines.append(f"{rows:>6}" + "".join(f"{own[way] * 1e3:12.2f}" for way in ways))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("linear", LinearBenchmark, measure, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
