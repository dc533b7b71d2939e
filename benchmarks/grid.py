"""A grid of pairs end to end, pictures to pictures, ours beside the published one-by-one order.

python -m benchmarks.grid --json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import Stopwatch, cores
from benchmarks.models.published import PublishedPrior
from pops.engine import Engine
from pops.io.loading import quietly
from pops.settings.fields import MOST_STEPS, SIZE, STEPS, THREADS, Range, Settings, setting
from pops.settings.groups import Dtype
from pops.settings.rendering import DecoderSettings
from pops.stacks.spec import WEIGHTS

__all__ = ["GridBenchmark", "Report", "compare", "main"]

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
PICTURE_SIDE = 256
SEED, RENDER_SEED = 18, 0

Pair = tuple[Image.Image, Image.Image]
Made = tuple[Tensor, list[Image.Image]]  # embeddings (N, D) and their pictures


@dataclass(frozen=True, kw_only=True)
class GridBenchmark(Settings):
    """Compare the time of a grid with that of the published one-by-one order.

    The published order encodes both pictures, samples and decodes, pair after pair. Ours encodes
    each picture once, and samples and decodes in batches. Both have the same weights, noise
    pictures and seeds, and take turns in one run.
    """

    stack: str | None = setting(
        None, "a name or a folder; null: pocket if it has its weights, else a tiny random stack"
    )
    operator: str = setting("texturing", "an operator of two inputs")
    rows: int = setting(4, "first inputs", within=Range(1, 1000))
    columns: int = setting(4, "second inputs", within=Range(1, 1000))
    steps: int = setting(
        25, "sampling steps of the operator, at least 2", within=Range(2, MOST_STEPS)
    )
    render_steps: int | None = setting(
        None, "steps of the decoder; null: the stack's own", within=STEPS
    )
    render_size: int | None = setting(
        None,
        "pixels of a side of a picture; null: the stack's own, 64 for the tiny one",
        within=SIZE,
    )
    repeats: int = setting(3, "turns of each way", within=Range(1, 1000))
    threads: int | None = setting(None, "CPU threads; null: one for each core", within=THREADS)
    device: str = setting("auto", "auto, cpu, cuda or mps")
    dtype: Dtype = setting("auto", "number format of the models")
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.grid --json",
        "python -m benchmarks.grid --stack kandinsky-2.2 --rows 10 --columns 10",
    )


@dataclass(frozen=True)
class Report:
    """The time of the grid in both ways, and how far their results differ."""

    settings: GridBenchmark
    stack: str
    render: DecoderSettings
    published_seconds: float
    ours_seconds: float
    embedding_difference: float  # the largest
    picture_difference: float  # the largest, of colours in 0..1

    def values(self) -> dict[str, float]:
        """List everything by name, the ratio first.

        Returns:
            The numbers by name.
        """
        return {
            "throughput_ratio_grid": self.published_seconds / self.ours_seconds,
            "max_abs_difference_embeddings": self.embedding_difference,
            "max_abs_difference_pictures": self.picture_difference,
            "published_seconds": self.published_seconds,
            "ours_seconds": self.ours_seconds,
            "pairs": self.settings.rows * self.settings.columns,
        }


class PublishedOrder:
    """Pictures to pictures, one pair at a time, by the classes the published code is made of."""

    def __init__(self, engine: Engine, operator: str) -> None:
        with quietly():
            from diffusers import KandinskyV22Pipeline

        stack = engine.stack
        self.encoder = stack.image_encoder
        self.negative = self.encoder.zero_embed()
        row, self.ours = engine.operator(operator)
        self.guidance = row.guidance
        self.prior = PublishedPrior(self.ours, stack.schedule.clip_range)
        self.decoder = KandinskyV22Pipeline(*stack.diffusers_decoder())
        self.decoder.set_progress_bar_config(disable=True)

    def run(self, pairs: Sequence[Pair], steps: int, render: DecoderSettings) -> Made:
        """Make the embeddings (N, D) and the pictures of the pairs."""
        made = [self._one(pair, steps, render) for pair in pairs]
        return torch.cat([embed for embed, _ in made]), [picture for _, picture in made]

    def _one(self, pair: Pair, steps: int, render: DecoderSettings) -> tuple[Tensor, Image.Image]:
        embeds = [self.encoder.encode_pixels(self.encoder.pixels([picture])) for picture in pair]
        tokens = self.ours.normalise(torch.cat(embeds).to(self.ours.clip_mean.device))
        embed = self.prior.sample(tokens, SEED, self.guidance, steps)
        (picture,) = self.decoder(
            image_embeds=embed,
            negative_image_embeds=self.negative,
            height=render.size,
            width=render.size,
            num_inference_steps=render.steps,
            guidance_scale=render.guidance,
            generator=torch.Generator().manual_seed(RENDER_SEED),
        ).images
        return embed, picture


def compare(settings: GridBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    torch.set_num_threads(settings.threads or cores())
    engine, tiny = _open(settings)
    render = _render_settings(engine, settings, tiny)
    published = PublishedOrder(engine, settings.operator)
    watch = Stopwatch(engine.stack.device)
    rng = np.random.default_rng(SEED)
    warm = _pairs(rng, 1, 1)  # the first pair of each way is not counted
    published.run(warm, settings.steps, render)
    _ours(engine, warm, settings, render)
    seconds: list[tuple[float, float]] = []
    differences: list[tuple[float, float]] = []
    for _ in range(settings.repeats):
        pairs = _pairs(rng, settings.rows, settings.columns)  # new ones: none is remembered
        wanted, theirs = watch.total(partial(published.run, pairs, settings.steps, render))
        made, ours = watch.total(partial(_ours, engine, pairs, settings, render))
        seconds.append((theirs, ours))
        differences.append(_differences(made, wanted))
    return Report(
        settings,
        "a tiny random stack" if tiny else engine.stack.name,
        render,
        *(median(each) for each in zip(*seconds, strict=True)),
        *(max(each) for each in zip(*differences, strict=True)),
    )


def _differences(made: Made, wanted: Made) -> tuple[float, float]:
    """Find the largest difference of the embeddings, and that of the colours, in 0..1."""
    ours, theirs = (
        np.stack([np.asarray(p, dtype=np.float32) for p in m[1]]) for m in (made, wanted)
    )
    return float((made[0] - wanted[0]).abs().max()), float(np.abs(ours - theirs).max()) / 255


def _open(settings: GridBenchmark) -> tuple[Engine, bool]:
    """Open the engine, and tell whether its stack is the tiny random one."""
    device, dtype = settings.device, settings.dtype
    needed = (WEIGHTS / "decoder" / "unet", WEIGHTS / "operators" / settings.operator)
    if settings.stack is not None or all(folder.is_dir() for folder in needed):
        return Engine.load(settings.stack or "pocket", device, dtype), False
    parts: dict[str, Any] = {
        "prior": GOLDEN / "kandinsky-tiny-prior",
        "decoder": GOLDEN / "kandinsky-tiny-decoder",
        "operators": GOLDEN / "operators",
    }
    return Engine.load("pocket", device, dtype, **parts), True


def _render_settings(engine: Engine, settings: GridBenchmark, tiny: bool) -> DecoderSettings:
    own = engine.renderer().settings
    return DecoderSettings(
        settings.render_steps or own.steps,
        own.guidance,
        settings.render_size or (64 if tiny else own.size),
    )


def _pairs(rng: np.random.Generator, rows: int, columns: int) -> list[Pair]:
    """Make every pair of `rows` and `columns` noise pictures."""
    shape = (rows + columns, PICTURE_SIDE, PICTURE_SIDE, 3)
    pictures = [Image.fromarray(p) for p in rng.integers(0, 256, shape, dtype=np.uint8)]
    return [(a, b) for a in pictures[:rows] for b in pictures[rows:]]


def _ours(
    engine: Engine,
    pairs: Sequence[Pair],
    settings: GridBenchmark,
    render: DecoderSettings,
) -> Made:
    made = engine.apply(settings.operator, pairs, seeds=[SEED], steps=settings.steps)
    pictures = engine.render(
        made,
        seeds=[RENDER_SEED],
        steps=render.steps,
        guidance=render.guidance,
        size=render.size,
    )
    return made.image_embeds, pictures


def show(report: Report) -> str:
    """Write the report as text."""
    settings, render = report.settings, report.render
    pairs = settings.rows * settings.columns
    return "\n".join(
        [
            f"{settings.operator}, {settings.rows} x {settings.columns} pairs on {report.stack}, "
            f"{settings.steps} steps; decoder {render.size} x {render.size}, {render.steps} steps",
            *(
                f"{name:22}{seconds:9.2f} s{pairs / seconds:10.3f} pairs a second"
                for name, seconds in (
                    ("published, one by one", report.published_seconds),
                    ("ours", report.ours_seconds),
                )
            ),
            f"ratio {report.published_seconds / report.ours_seconds:.2f}; medians of "
            f"{settings.repeats} interleaved runs, loading not counted",
            f"largest difference: embeddings {report.embedding_difference:.1e}, "
            f"pictures {report.picture_difference:.1e}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("grid", GridBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
