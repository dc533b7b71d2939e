"""Everything that a GPU's page of numbers needs, in one run that goes on where it was stopped.

python -m benchmarks.gpu
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import formats, grid, prior, training
from benchmarks.full_size import FullSizeBenchmark, run_stages, stack_folder
from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import cores, device_name, peak_bytes
from benchmarks.harness.page import check_page, write_table
from pops.errors import UsageError
from pops.io.files import atomic_path
from pops.io.machine.placement import choose_device
from pops.settings.fields import BATCH, SIZE, STEPS, Range, Settings, setting
from pops.settings.groups import Dtype, Offload

__all__ = ["GpuBenchmark", "Report", "main", "measure"]

Values = dict[str, float]
TABLE = "numbers of a GPU"  # the name in the marks of a page
NAMES = ("prior", "training", "lora", "formats", "grid")
# The formats of the weights whose memory is told, and whether they are offloaded.
WEIGHTS: tuple[tuple[Dtype, Offload], ...] = (
    ("float16", "none"),
    ("float16", "model"),
    ("int8", "none"),
)


@dataclass(frozen=True, kw_only=True)
class GpuBenchmark(Settings):
    """Measure the prior, training, number formats and a grid on one GPU, and write their table.

    Each part is written into a file as soon as it is done, and not measured again when the same
    command is given again. The weights are random and of the full size.
    """

    results: Path = setting(Path("results/gpu.json"), "file of what is measured already")
    page: Path | None = setting(None, "Markdown file whose marked table is written anew")
    parts: tuple[str, ...] = setting(NAMES, "what is measured")
    layers: int = setting(20, "transformer blocks of the random prior", within=Range(1, 256))
    heads: int = setting(32, "its attention heads, of 64 numbers each", within=Range(1, 1024))
    dim: int = setting(1280, "length of its embeddings", within=Range(1, 100_000))
    batches: tuple[int, ...] = setting(
        (1, 8, 256), "requests that are sampled together", within=BATCH
    )
    train_batch: int = setting(64, "examples of a training step of ours", within=BATCH)
    rank: int = setting(64, "rank of the adapter that is trained", within=Range(1, 4096))
    side: int = setting(4, "pictures on each side of the grid", within=Range(1, 100))
    stack: str | None = setting(None, "stack of the grid; null: a random one of the full size")
    render_steps: int | None = setting(
        None, "steps of the decoder; null: the stack's own", within=STEPS
    )
    render_size: int = setting(
        512, "pixels of a side of a picture whose memory is told", within=SIZE
    )
    steps: int = setting(4, "sampling steps of every timed run of the prior", within=STEPS)
    repeats: int = setting(3, "turns of each way", within=Range(1, 1000))
    matmul_size: int = setting(
        8192, "side of the square matrices that show the GPU's peak", within=Range(1, 100_000)
    )
    device: str = setting("auto", "auto, cpu, cuda or mps")
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.gpu --page=docs/performance.md",
        "python -m benchmarks.gpu --parts=prior --batches=1,64",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in self.parts:
            if part not in NAMES:
                raise UsageError(f"--parts knows {', '.join(NAMES)}, but not {part!r}")


@dataclass(frozen=True)
class Report:
    """The numbers of every part by name."""

    device: str
    parts: Mapping[str, Values]

    def values(self) -> Values:
        """List all numbers, each after the name of its part.

        Returns:
            The numbers by name.
        """
        return {
            f"{part}_{name}": value
            for part, own in self.parts.items()
            for name, value in own.items()
        }


def measure(settings: GpuBenchmark) -> Report:
    """Run the parts that the file of results does not have yet.

    Args:
        settings: What is measured, and where results go.

    Returns:
        The measurements of all parts.

    Raises:
        UsageError: The page has no marked place for the table.
    """
    if settings.page is not None:
        check_page(settings.page, TABLE)  # before anything is measured
    device = choose_device(settings.device)
    name = device_name(device, cores())
    key = f"{name}; {_sizes(settings)}"
    known = json.loads(settings.results.read_text("utf-8")) if settings.results.is_file() else {}
    found: dict[str, Values] = known.setdefault(key, {})
    for part in settings.parts:
        if part not in found:
            peak_bytes(device)  # forget the peak of what was before
            start = perf_counter()
            values = PARTS[part](settings)
            peak = peak_bytes(device)
            found[part] = values | {"seconds": perf_counter() - start}
            found[part] |= {} if peak is None else {"peak_bytes": peak}
            with atomic_path(settings.results) as file:
                file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    report = Report(name, {part: found[part] for part in settings.parts})
    if settings.page is not None:
        write_table(settings.page, TABLE, show(report))
    return report


def _sizes(settings: GpuBenchmark) -> str:
    """Write down the settings that numbers depend on."""
    apart = ("results", "page", "parts", "device", "json")
    return ", ".join(f"{k} {v}" for k, v in vars(settings).items() if k not in apart)


def _prior(settings: GpuBenchmark) -> Values:
    return prior.compare(
        prior.PriorBenchmark(
            layers=settings.layers,
            heads=settings.heads,
            dim=settings.dim,
            batches=settings.batches,
            steps=settings.steps,
            repeats=settings.repeats,
            matmul_size=settings.matmul_size,
            device=settings.device,
        )
    ).values()


def _training(settings: GpuBenchmark, rank: int = 0) -> Values:
    return training.compare(
        training.TrainingBenchmark(
            rank=rank,
            layers=settings.layers,
            heads=settings.heads,
            dim=settings.dim,
            batch=settings.train_batch,
            repeats=settings.repeats,
            matmul_size=settings.matmul_size,
            device=settings.device,
        )
    ).values()


def _lora(settings: GpuBenchmark) -> Values:
    return _training(settings, settings.rank)


def _formats(settings: GpuBenchmark) -> Values:
    return formats.compare(
        formats.FormatsBenchmark(
            layers=settings.layers,
            heads=settings.heads,
            dim=settings.dim,
            batches=settings.batches,
            repeats=settings.repeats,
            device=settings.device,
        )
    ).values()


def _grid(settings: GpuBenchmark) -> Values:
    """Compare a grid, and tell the memory of the stack that it is made with."""
    with ExitStack() as kept:
        place = settings.stack or str(kept.enter_context(stack_folder(None)))
        compared = grid.compare(
            grid.GridBenchmark(
                stack=place,
                rows=settings.side,
                columns=settings.side,
                render_steps=settings.render_steps,
                repeats=1,
                device=settings.device,
            )
        ).values()
        return compared | _memory(settings, Path(place))


def _memory(settings: GpuBenchmark, stack: Path) -> Values:
    """Tell the peak of the memory with other formats of the weights, and with offloading."""
    found: Values = {}
    for dtype, offload in WEIGHTS:
        asked = FullSizeBenchmark(
            device=settings.device,
            dtype=dtype,
            offload=offload,
            steps=settings.steps,
            render_size=settings.render_size,
        )
        stages = run_stages(stack, asked)
        found |= {f"{dtype}_offload_{offload}_{one.name}_bytes": one.peak_bytes for one in stages}
    return found


PARTS: dict[str, Callable[[GpuBenchmark], Values]] = {
    "prior": _prior,
    "training": _training,
    "lora": _lora,
    "formats": _formats,
    "grid": _grid,
}


def show(report: Report) -> str:
    """Write the numbers as a Markdown table."""
    lines = [f"Measured on {report.device}.", "", "| part | number | value |", "|---|---|---|"]
    for part, values in report.parts.items():
        lines += [
            f"| {part} | {name.replace('_', ' ')} | {value:,.4g} |"
            for name, value in values.items()
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("gpu", GpuBenchmark, measure, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
