"""How far each part moves from float32 in other number formats, and what that saves.

python -m benchmarks.formats --json
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import synchronise
from benchmarks.prior import OPERATOR, RandomStack, random_prior
from pops.engine import Engine
from pops.errors import check_known
from pops.io.embeddings import Embeddings
from pops.io.machine.placement import choose_device, choose_placement
from pops.prior.int8 import round_to_int8
from pops.prior.model import Prior, PriorConfig
from pops.settings.fields import BATCH, GUIDANCE, STEPS, Range, Settings, setting
from pops.stacks.spec import StackSpec

__all__ = ["FormatsBenchmark", "Report", "compare", "main"]

ASSETS = Path(__file__).parents[1] / "assets"
EXACT, FORMATS = "float32", ("bfloat16", "float16", "int8")
SEEDS = (18, 42)
TIMED_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class FormatsBenchmark(Settings):
    """Compare what each part gives in other number formats with what it gives in float32.

    Each part gets the same float32 inputs in every format: the encoder pictures, the prior
    condition tokens, the decoder embeddings. The prior is that of the pocket stack and a random
    one, both for texturing. The random one also tells the memory of its weights and the time of
    its steps, of every format in turn with float32; on a CPU that is processor time.
    """

    formats: tuple[str, ...] = setting(FORMATS, "number formats beside float32")
    guidances: tuple[float, ...] = setting(
        (1.0, 8.0, 16.0), "guidances of the prior", within=GUIDANCE
    )
    inputs: int = setting(6, "objects, each with as many textures", within=Range(1, 1000))
    pictures: int = setting(4, "embeddings that are rendered", within=Range(1, 1000))
    layers: int = setting(
        20, "transformer blocks of the random prior; 0: only the pocket stack", within=Range(0, 256)
    )
    heads: int = setting(8, "its attention heads, of 64 numbers each", within=Range(1, 1024))
    dim: int = setting(1280, "length of its embeddings", within=Range(1, 100_000))
    steps: int = setting(25, "sampling steps", within=STEPS)
    batches: tuple[int, ...] = setting(
        (1, 8), "requests whose steps are timed together", within=BATCH
    )
    repeats: int = setting(3, "turns of each format that are timed", within=Range(1, 1000))
    device: str = setting("auto", "auto, cpu, cuda or mps")
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.formats --json",
        "python -m benchmarks.formats --heads=32    # the prior of the full size",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.formats:
            check_known("number format", name, FORMATS)


@dataclass(frozen=True)
class Report:
    """The numbers by part and format: cosines, levels of pictures, bytes, and times a step."""

    settings: FormatsBenchmark
    device: str
    found: dict[tuple[str, str], float]

    def values(self) -> dict[str, float]:
        """List all numbers by name.

        Returns:
            The numbers by name.
        """
        return {"_".join(key): value for key, value in self.found.items()}


def compare(settings: FormatsBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    device = choose_device(settings.device)
    found: dict[tuple[str, str], float] = {}
    parts = [*_pocket(settings, device), *(_random(settings, device) if settings.layers else [])]
    for name, part, value in parts:
        found[part, name] = value
    return Report(settings, str(device), found)


Found = tuple[str, str, float]  # the format, the part, the number


def _pocket(settings: FormatsBenchmark, device: torch.device) -> Iterator[Found]:
    """Compare the parts of the pocket stack, one by one."""
    exact, *others = (
        Engine.load("pocket", str(device), name) for name in (EXACT, *settings.formats)
    )
    objects, textures = (
        sorted((ASSETS / kind).glob("*.png"))[: settings.inputs] for kind in ("objects", "textures")
    )
    pictures: list[str | Path] = [*objects, *textures]
    embeds = exact.encode(pictures).image_embeds
    pairs = [(a, b) for a in embeds[: len(objects)] for b in embeds[len(objects) :]]
    for name, engine in zip(settings.formats, others, strict=True):
        yield name, "encoder", _alike(engine.encode(pictures).image_embeds, embeds)
    for guidance in settings.guidances:
        part = f"prior_guidance{guidance:g}"
        wanted = _texture(exact, pairs, guidance, settings.steps)
        for name, engine in zip(settings.formats, others, strict=True):
            yield name, part, _alike(_texture(engine, pairs, guidance, settings.steps), wanted)
    shown = Embeddings(embeds[: settings.pictures], exact.stack.name)
    right = [np.asarray(picture, dtype=np.float32) for picture in exact.render(shown, seeds=[0])]
    for name, engine in zip(settings.formats, others, strict=True):
        made = [np.asarray(picture, np.float32) for picture in engine.render(shown, seeds=[0])]
        differences = [np.abs(a - b).mean() for a, b in zip(made, right, strict=True)]
        yield name, "decoder_levels", float(max(differences))


def _random(settings: FormatsBenchmark, device: torch.device) -> Iterator[Found]:
    """Compare a random prior, with the same weights in every format."""
    config = PriorConfig(settings.heads, 64, settings.layers, settings.dim)
    torch.manual_seed(0)
    prior = random_prior(config, device, torch.float32)
    inputs = torch.randn(max(settings.inputs, *settings.batches), 2, settings.dim)
    pairs = [(a, b) for a, b in inputs]
    exact, asked = _random_engine(prior, EXACT, device), pairs[: settings.inputs]
    wanted = {g: _texture(exact, asked, g, settings.steps) for g in settings.guidances}
    yield EXACT, "random_prior_bytes", _held_bytes(prior)
    for name in settings.formats:
        engine = _random_engine(prior, name, device)
        for guidance, right in wanted.items():
            made = _texture(engine, asked, guidance, settings.steps)
            yield name, f"random_prior_guidance{guidance:g}", _alike(made, right)
        yield name, "random_prior_bytes", _held_bytes(engine.operator(OPERATOR.name)[1])
        for batch in settings.batches:
            times = _step_times((exact, engine), pairs[:batch], device, settings.repeats)
            yield name, f"random_prior_time_batch{batch}", times[1] / times[0]


def _random_engine(prior: Prior, name: str, device: torch.device) -> Engine:
    """Make an engine on a copy of the prior in a number format, as a stack would hold it."""
    placement = choose_placement(str(device), name)
    weights = {key: tensor.to(placement.dtype) for key, tensor in prior.state_dict().items()}
    own = prior.sharing(weights)
    if placement.int8:
        round_to_int8(own)
    else:
        own.join_projections()
    return Engine(RandomStack(StackSpec("random", "", "", ""), placement, random_prior=own))


def _held_bytes(prior: Prior) -> float:
    return float(sum(t.numel() * t.element_size() for t in prior.state_dict().values()))


def _step_times(
    engines: Sequence[Engine],
    pairs: Sequence[tuple[Tensor, Tensor]],
    device: torch.device,
    repeats: int,
) -> list[float]:
    """Time some steps of every engine in turns: the medians, after one turn that is not timed."""
    clock = process_time if device.type == "cpu" else perf_counter
    seconds: list[list[float]] = [[] for _ in engines]
    for _ in range(repeats + 1):
        for engine, own in zip(engines, seconds, strict=True):
            began = clock()
            engine.apply(OPERATOR.name, pairs, seeds=SEEDS[:1], steps=TIMED_STEPS)
            synchronise(device)
            own.append(clock() - began)
    return [median(own[1:]) for own in seconds]


def _texture(
    engine: Engine, pairs: Sequence[tuple[Tensor, Tensor]], guidance: float, steps: int
) -> Tensor:
    made = engine.apply(OPERATOR.name, pairs, seeds=SEEDS, guidance=guidance, steps=steps)
    return made.image_embeds


def _alike(made: Tensor, wanted: Tensor) -> float:
    """Find the smallest cosine of rows; 0 where a number is not finite."""
    return float(F.cosine_similarity(made, wanted).nan_to_num(0.0).min())


def show(report: Report) -> str:
    """Write the report as text."""
    parts = list(dict.fromkeys(part for part, _ in report.found))
    names = (EXACT, *report.settings.formats)
    lines = [f"on {report.device}, beside {EXACT}", f"{'':28}" + "".join(f"{n:>14}" for n in names)]
    for part in parts:
        cells = (report.found.get((part, name)) for name in names)
        written = "".join(f"{'' if cell is None else f'{cell:,.6g}':>14}" for cell in cells)
        lines.append(f"{part.replace('_', ' '):28}{written}")
    lines += [
        "smallest cosine of an embedding; of the decoder, mean levels of 255 of a picture;",
        f"bytes of the weights; the time of {TIMED_STEPS} steps beside that in {EXACT}",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("formats", FormatsBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
