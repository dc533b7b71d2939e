"""Few steps against many: what each sampler gives at each number of steps.

python -m benchmarks.samplers --json
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness.command import run_benchmark
from pops.engine import Engine
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Swatch, single
from pops.pocket.world.split import Combination, held_out, is_held_out
from pops.pocket.world.vocabulary import MATERIALS
from pops.prior.sampling import SAMPLERS
from pops.settings.fields import MOST_STEPS, Range, Settings, setting

__all__ = ["Report", "SamplersBenchmark", "main", "measure"]

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
OPERATOR = "texturing"
REFERENCE = ("ancestral", 25)  # the published way
SEED, OTHER_SEED = 18, 42
GOLDEN_SEEDS = range(16)


@dataclass(frozen=True, kw_only=True)
class SamplersBenchmark(Settings):
    """Compare samplers by the number of their steps with the published 25 ancestral ones.

    Texturing on two stacks: the tests' tiny random one, and pocket, on combinations of object,
    material and background that it was not trained on. There a picture of each combination tells
    what is right.
    """

    steps: tuple[int, ...] = setting(
        (4, 6, 10, 25), "numbers of steps, each at least 2", within=Range(2, MOST_STEPS)
    )
    limit: int = setting(200, "combinations of the pocket world", within=Range(2, 10**9))
    json: bool = setting(False, "print one JSON object as the last line")

    examples = ("python -m benchmarks.samplers --json", "python -m benchmarks.samplers --steps 4,8")


@dataclass(frozen=True)
class Row:
    """One sampler at one number of steps; cosines are means of all requests."""

    sampler: str
    steps: int
    golden: float  # cosine to the reference with the same seed, on the random stack
    same: float  # the same on pocket
    right: float  # cosine to a picture of what is right
    top1: float  # share of requests whose nearest picture is the right one


@dataclass(frozen=True)
class Report:
    """The rows of all samplers, and what they are compared with."""

    settings: SamplersBenchmark
    rows: tuple[Row, ...]
    other_seed: Row  # the reference with another seed: how much a seed alone changes
    ceiling: Row  # another picture of what is right, in place of a result

    def values(self) -> dict[str, float]:
        """List everything by name: sampler, steps, measure.

        Returns:
            The numbers by name.
        """
        named = {f"{row.sampler}_{row.steps}": row for row in self.rows}
        named |= {"other_seed": self.other_seed, "ceiling": self.ceiling}
        return {
            f"{name}_{measured}": getattr(row, measured)
            for name, row in named.items()
            for measured in ("golden", "same", "right", "top1")
        }


@dataclass(frozen=True)
class _Task:
    """Requests with known answers: a picture of each, and another one."""

    inputs: list[tuple[Image.Image, Image.Image]]
    right: Tensor  # (N, D)
    twins: Tensor  # (N, D)


def measure(settings: SamplersBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    pocket = Engine.load("pocket", "cpu")
    parts = {"prior": GOLDEN / "kandinsky-tiny-prior", "operators": GOLDEN / "operators"}
    golden = Engine.load("pocket", "cpu", **parts)
    pair = (GOLDEN / "inputs" / "input_a.png", GOLDEN / "inputs" / "input_b.png")
    task = _task(pocket, settings.limit)

    def sample(sampler: str, steps: int, shift: int = 0) -> tuple[Tensor, Tensor]:
        how = {"sampler": sampler, "steps": steps}
        seeds = [seed + shift for seed in GOLDEN_SEEDS]
        tiny = golden.apply(OPERATOR, [pair], seeds=seeds, **how)  # type: ignore[arg-type]
        made = pocket.apply(OPERATOR, task.inputs, seeds=[SEED + shift], **how)  # type: ignore[arg-type]
        return tiny.image_embeds, made.image_embeds

    reference = sample(*REFERENCE)

    def row(sampler: str, steps: int, made: tuple[Tensor, Tensor]) -> Row:
        tiny, embeds = made
        return Row(
            sampler,
            steps,
            _cosine(tiny, reference[0]),
            _cosine(embeds, reference[1]),
            _cosine(embeds, task.right),
            _top1(embeds, task.right),
        )

    rows = [
        row(sampler, steps, sample(sampler, steps))
        for sampler in SAMPLERS
        for steps in settings.steps
    ]
    other = row(*REFERENCE, sample(*REFERENCE, shift=OTHER_SEED - SEED))
    ceiling = row("ceiling", 0, (reference[0], task.twins))
    return Report(settings, tuple(rows), other, ceiling)


def _task(engine: Engine, limit: int) -> _Task:
    rng = random.Random("samplers")
    targets = rng.sample(held_out(), min(limit, len(held_out())))
    objects = [single(target[0], _other(target, rng), target[2], rng) for target in targets]
    right, twins = ([single(*c, rng) for c in targets] for _ in range(2))
    drawn = _pictures(render([*objects, *right, *twins]).pictures)
    swatches = _pictures(render_swatches([Swatch(c[1], rng.uniform(0, 20)) for c in targets]))
    embeds = engine.encode(drawn[len(targets) :]).image_embeds
    return _Task(list(zip(drawn, swatches, strict=False)), *embeds.chunk(2))


def _other(target: Combination, rng: random.Random) -> str:
    """Find another material, in which the object is seen in training."""
    shape, material, place = target
    return rng.choice([m for m in MATERIALS if m != material and not is_held_out(shape, m, place)])


def _pictures(drawn: Tensor) -> list[Image.Image]:
    return [Image.fromarray(picture.numpy()) for picture in drawn]


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a, b).mean())


def _top1(embeds: Tensor, right: Tensor) -> float:
    likeness = F.normalize(embeds) @ F.normalize(right).T
    return float((likeness.argmax(1) == torch.arange(len(right))).float().mean())


def show(report: Report) -> str:
    """Write the report as text."""
    named = [(f"{row.sampler}, {row.steps} steps", row) for row in report.rows]
    named += [
        (f"{REFERENCE[0]}, {REFERENCE[1]}, another seed", report.other_seed),
        ("another picture of it", report.ceiling),
    ]
    return "\n".join(
        [
            f"{OPERATOR}; cosines to {REFERENCE[1]} {REFERENCE[0]} steps of the same seed, and to "
            "a picture of what is right",
            f"{'':28}{'random':>10}{'pocket':>10}{'right':>10}{'top 1':>10}",
            *(
                f"{name:28}{row.golden:10.4f}{row.same:10.4f}{row.right:10.4f}{row.top1:10.1%}"
                for name, row in named
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("samplers", SamplersBenchmark, measure, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
