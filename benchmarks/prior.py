"""The prior, ours beside the published way: a full-size random one, on the same weights.

python -m benchmarks.prior --json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import (
    Laps,
    Limits,
    Stopwatch,
    cores,
    device_name,
    measure_limits,
    step_seconds,
)
from benchmarks.models.published import PublishedPrior
from benchmarks.models.weights import random_model
from pops.engine import Engine
from pops.io.machine.placement import choose_placement
from pops.operators import TEXTURING, Operator
from pops.prior.int8 import round_to_int8
from pops.prior.model import Prior, PriorConfig
from pops.prior.schedule import Schedule
from pops.settings.fields import BATCH, THREADS, Range, Settings, setting
from pops.settings.groups import Dtype
from pops.stacks.spec import StackSpec
from pops.stacks.stack import Stack

__all__ = ["PriorBenchmark", "Report", "compare", "main"]

OPERATOR = TEXTURING  # two inputs, guidance 8
REQUEST_STEPS = 25
HEAD_DIM = 64
SEED = 18


@dataclass(frozen=True, kw_only=True)
class PriorBenchmark(Settings):
    """Compare the throughput of the prior with the published way's.

    Both have the same random weights, inputs, seeds and guidance, and take turns in one run.
    Steps are timed one by one; since every step of a request costs the same, a request of 25
    steps is computed as what it does before its first step + 25 x the median step.
    """

    layers: int = setting(20, "transformer blocks of the prior", within=Range(1, 256))
    heads: int = setting(32, "attention heads, of 64 numbers each", within=Range(1, 1024))
    dim: int = setting(1280, "length of an embedding", within=Range(1, 100_000))
    batches: tuple[int, ...] = setting((1, 8), "requests that are sampled together", within=BATCH)
    steps: int = setting(4, "steps of every timed run, at least 2", within=Range(2, REQUEST_STEPS))
    repeats: int = setting(5, "turns of each way", within=Range(1, 1000))
    full: bool = setting(False, "time whole requests of 25 steps, and compute nothing")
    threads: int | None = setting(None, "CPU threads; null: one for each core", within=THREADS)
    device: str = setting("auto", "auto, cpu, cuda or mps")
    dtype: Dtype = setting("auto", "number format of the weights")
    matmul_size: int = setting(
        4096, "side of the square matrices that show the machine's peak", within=Range(1, 100_000)
    )
    mebibytes: int = setting(
        1024, "memory that is read to show the machine's bandwidth", within=Range(1, 1_000_000)
    )
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.prior --json",
        "python -m benchmarks.prior --layers 2 --heads 4 --dim 128   # a small try",
    )


@dataclass(frozen=True)
class Way:
    """The measurements of one way at one batch size, in seconds."""

    batch: int
    before_steps: float  # all that is done once: encoding of conditions, keys and values
    step: float
    request: float  # 25 steps
    flops: float  # multiplications and additions of one step

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return self.batch / self.request


@dataclass(frozen=True)
class Report:
    """The measurements of both ways, and what the machine can do at most."""

    settings: PriorBenchmark
    machine: str
    parameters: int
    bytes_a_step: int  # of weights that one step needs
    limits: Limits
    published: Way
    ours: tuple[Way, ...]
    max_abs_difference: float

    def ratio(self, way: Way) -> float:
        """Compare the throughput of a way with the published one's.

        Args:
            way: One of `ours`.

        Returns:
            The ratio.
        """
        return way.throughput / self.published.throughput

    def values(self) -> dict[str, float]:
        """List everything by name, the ratios first.

        Returns:
            The numbers by name.
        """
        found = {f"throughput_ratio_batch{way.batch}": self.ratio(way) for way in self.ours}
        found["max_abs_difference"] = self.max_abs_difference
        for way in self.ours:
            found[f"fraction_of_peak_batch{way.batch}"] = way.flops / way.step / self.limits.flops
            found[f"fraction_of_bandwidth_batch{way.batch}"] = (
                self.bytes_a_step / way.step / self.limits.bandwidth
            )
        found["matmul_peak_flops"] = self.limits.flops
        found["bandwidth_bytes_per_second"] = self.limits.bandwidth
        for name, way in [
            ("published", self.published),
            *((f"ours_batch{w.batch}", w) for w in self.ours),
        ]:
            found |= {
                f"{name}_{key}": value for key, value in asdict(way).items() if key != "batch"
            }
        return found


@dataclass(frozen=True, kw_only=True)
class RandomStack(Stack):
    """A stack of nothing but a random prior: enough to apply an operator to embeddings."""

    random_prior: Prior

    @property
    def prior_config(self) -> PriorConfig:
        return self.random_prior.config

    @property
    def schedule(self) -> Schedule:
        return Schedule()

    def operator_row(self, name: str, weights: object = None) -> Operator:
        return OPERATOR

    def operator(self, name: str, weights: object = None) -> tuple[Operator, Prior]:
        return OPERATOR, self.random_prior


def random_prior(config: PriorConfig, device: torch.device, dtype: torch.dtype) -> Prior:
    """Make a prior whose activations stay in range, as those of a trained one do."""
    with torch.device("meta"):
        prior = Prior(config)
    return random_model(prior, device, dtype).join_projections()  # as a stack loads it


def compare(settings: PriorBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    placement = choose_placement(settings.device, settings.dtype)
    device, dtype = placement.device, placement.dtype
    threads = settings.threads or cores()
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    limits = measure_limits(device, dtype, settings.matmul_size, settings.mebibytes)
    config = PriorConfig(settings.heads, HEAD_DIM, settings.layers, settings.dim)
    prior = random_prior(config, device, dtype)
    published = PublishedPrior(prior)
    if placement.int8:  # of ours alone: the published way keeps the weights as they were
        round_to_int8(prior)
    stack = RandomStack(StackSpec("random", "", "", ""), placement, random_prior=prior)
    ways = _Ways(Engine(stack), published, torch.randn(max(settings.batches), 2, settings.dim))
    runs, difference = _take_turns(ways, settings, Stopwatch(device))
    limits |= measure_limits(device, dtype, settings.matmul_size, settings.mebibytes)
    return Report(
        settings,
        f"{device_name(device, threads)}, {placement.number_format}",
        sum(p.numel() for p in published.model.parameters()),
        _bytes_a_step(prior),
        limits,
        _way(1, runs[0], ways.published_flops(), settings.full),
        tuple(_way(n, runs[n], ways.ours_flops(n), settings.full) for n in settings.batches),
        difference,
    )


@dataclass(frozen=True)
class _Ways:
    """Both ways to sample the first N of some pairs of embeddings, each with a seed of its own."""

    engine: Engine
    prior: PublishedPrior
    pairs: Tensor  # (N, 2, D); clip_mean is 0 and clip_std 1, so they are normalised too

    def published(self, steps: int, lap: Callable[..., None] | None = None) -> Tensor:
        """Sample the first pair: (1, D)."""
        return self.prior.sample(self.pairs[0], SEED, OPERATOR.guidance, steps, lap)

    def ours(self, batch: int, steps: int, lap: Callable[..., None] | None = None) -> Tensor:
        """Sample the first `batch` pairs: (batch, D)."""
        made = self.engine.apply(
            OPERATOR.name,
            [tuple(pair) for pair in self.pairs[:batch]],
            seeds=[[SEED + i] for i in range(batch)],
            steps=steps,
            progress=lap,
        )
        return made.image_embeds

    def published_flops(self) -> float:
        return _count(lambda: self.published(2)) / 2

    def ours_flops(self, batch: int) -> float:
        return _count(lambda: self.ours(batch, 2)) - _count(lambda: self.ours(batch, 1))


def _take_turns(
    ways: _Ways, settings: PriorBenchmark, watch: Stopwatch
) -> tuple[dict[int, list[Laps]], float]:
    """Time the published way (0) and each batch of ours in turns, and tell how far they differ."""
    steps = REQUEST_STEPS if settings.full else settings.steps
    runs: dict[int, list[Laps]] = {0: [], **{n: [] for n in settings.batches}}
    differences: list[Tensor] = []
    ways.published(2)  # both are warm when the first turn begins
    for n in settings.batches:
        ways.ours(n, 2)
    for _ in range(settings.repeats):
        wanted, laps = watch.time(lambda: ways.published(steps, watch.lap))
        runs[0].append(laps)
        for n in settings.batches:
            made, laps = watch.time(lambda n=n: ways.ours(n, steps, watch.lap))  # type: ignore[misc]
            runs[n].append(laps)
            differences.append((made[:1] - wanted).abs().max())
    return runs, float(torch.stack(differences).max())


def _way(batch: int, runs: Sequence[Laps], flops: float, full: bool) -> Way:
    step = step_seconds(runs)
    before = max(0.0, median(run.first for run in runs) - step)
    request = median(run.total for run in runs) if full else before + REQUEST_STEPS * step
    return Way(batch, before, step, request, flops)


def _count(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _bytes_a_step(prior: Prior) -> int:
    """Count the bytes of weights that a step reads: all but those of conditions and space."""
    once = ("encoder_hidden_states_proj", "embedding_proj", "positional", "clip_")
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in prior.state_dict().items()
        if not name.startswith(once)
    )


def show(report: Report) -> str:
    """Write the report as text."""
    settings, limits = report.settings, report.limits
    lines = [
        f"random prior: {settings.layers} layers, {settings.heads} x {HEAD_DIM}, "
        f"embeddings of {settings.dim}, {report.parameters / 1e6:,.1f} million parameters",
        f"machine: {report.machine}; {limits.flops / 1e9:,.0f} GFLOP/s in a matrix product, "
        f"{limits.bandwidth / 1e9:,.1f} GB/s",
        f"{'':22}{'before steps':>13}{'step':>10}{'25 steps':>10}{'a second':>10}{'ratio':>8}"
        f"{'of peak':>9}{'of GB/s':>9}",
    ]
    for name, way in [("published, 1 pair", report.published)] + [
        (f"ours, {way.batch} pair{'s' * (way.batch > 1)}", way) for way in report.ours
    ]:
        lines.append(
            f"{name:22}{way.before_steps:11.3f} s{way.step:8.3f} s{way.request:8.2f} s"
            f"{way.throughput:10.3f}{report.ratio(way):8.2f}"
            f"{way.flops / way.step / limits.flops:9.0%}"
            f"{report.bytes_a_step / way.step / limits.bandwidth:9.0%}"
        )
    how = (
        "25 steps were timed whole: medians"
        if settings.full
        else "25 steps are computed: the median of what is done before the steps + 25 x the median "
        "step"
    )
    runs = REQUEST_STEPS if settings.full else settings.steps
    lines += [
        f"{how}, of {settings.repeats} interleaved runs of {runs} steps each.",
        f"guidance {OPERATOR.guidance:g}; largest difference between both ways after {runs} steps: "
        f"{report.max_abs_difference:.1e}",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("prior", PriorBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
