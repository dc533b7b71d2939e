"""How far each part moves from float32 in bfloat16 and in float16.

python -m benchmarks.half --json
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness.command import run_benchmark
from benchmarks.prior import OPERATOR, RandomStack, random_prior
from pops.engine import Engine
from pops.errors import UsageError
from pops.io.embeddings import Embeddings
from pops.io.machine.placement import Placement, choose_device
from pops.prior.model import PriorConfig
from pops.settings.fields import setting
from pops.stacks.spec import StackSpec

__all__ = ["HalfBenchmark", "Report", "compare", "main"]

ASSETS = Path(__file__).parents[1] / "assets"
HALVES = (torch.bfloat16, torch.float16)
SEEDS = (18, 42)


@dataclass(frozen=True, kw_only=True)
class HalfBenchmark:
    """Compare what each part gives in half precision with what it gives in float32.

    Each part gets the same float32 inputs in every format: the encoder pictures, the prior
    condition tokens, the decoder embeddings. The prior is that of the pocket stack and a random
    one, both for texturing.
    """

    guidances: tuple[float, ...] = setting((1.0, 8.0, 16.0), "guidances of the prior")
    inputs: int = setting(6, "objects, each with as many textures")
    pictures: int = setting(4, "embeddings that are rendered")
    layers: int = setting(20, "transformer blocks of the random prior; 0: only the pocket stack")
    heads: int = setting(8, "its attention heads, of 64 numbers each")
    dim: int = setting(1280, "length of its embeddings")
    steps: int = setting(25, "sampling steps")
    device: str = setting("auto", "auto, cpu, cuda or mps")
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.half --json",
        "python -m benchmarks.half --heads=32    # the full-size prior, on a GPU",
    )

    def __post_init__(self) -> None:
        for name in ("inputs", "pictures", "heads", "dim", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Report:
    """The smallest cosine, or of pictures the largest mean difference, by part and format."""

    settings: HalfBenchmark
    device: str
    found: dict[tuple[str, str], float]

    def values(self) -> dict[str, float]:
        """List all numbers by name.

        Returns:
            The numbers by name.
        """
        return {"_".join(key): value for key, value in self.found.items()}


def compare(settings: HalfBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    device = choose_device(settings.device)
    found: dict[tuple[str, str], float] = {}
    parts = [*_pocket(settings, device), *(_random(settings, device) if settings.layers else [])]
    for dtype, part, value in parts:
        found[part, str(dtype).removeprefix("torch.")] = value
    return Report(settings, str(device), found)


Found = tuple[torch.dtype, str, float]


def _pocket(settings: HalfBenchmark, device: torch.device) -> Iterator[Found]:
    """Compare the parts of the pocket stack, one by one."""
    exact, *halves = (
        Engine.load("pocket", str(device), str(dtype).removeprefix("torch."))
        for dtype in (torch.float32, *HALVES)
    )
    objects, textures = (
        sorted((ASSETS / kind).glob("*.png"))[: settings.inputs] for kind in ("objects", "textures")
    )
    pictures: list[str | Path] = [*objects, *textures]
    embeds = exact.encode(pictures).image_embeds
    pairs = [(a, b) for a in embeds[: len(objects)] for b in embeds[len(objects) :]]
    for dtype, engine in zip(HALVES, halves, strict=True):
        yield dtype, "encoder", _alike(engine.encode(pictures).image_embeds, embeds)
    for guidance in settings.guidances:
        part = f"prior_guidance{guidance:g}"
        wanted = _texture(exact, pairs, guidance, settings.steps)
        for dtype, engine in zip(HALVES, halves, strict=True):
            yield dtype, part, _alike(_texture(engine, pairs, guidance, settings.steps), wanted)
    shown = Embeddings(embeds[: settings.pictures], exact.stack.name)
    right = [np.asarray(picture, dtype=np.float32) for picture in exact.render(shown, seeds=[0])]
    for dtype, engine in zip(HALVES, halves, strict=True):
        made = [np.asarray(picture, np.float32) for picture in engine.render(shown, seeds=[0])]
        differences = [np.abs(a - b).mean() for a, b in zip(made, right, strict=True)]
        yield dtype, "decoder_levels", float(max(differences))


def _random(settings: HalfBenchmark, device: torch.device) -> Iterator[Found]:
    """Compare a random prior, with the same weights in every format."""
    config = PriorConfig(settings.heads, 64, settings.layers, settings.dim)
    torch.manual_seed(0)
    prior = random_prior(config, device, torch.float32)
    inputs = torch.randn(settings.inputs, 2, settings.dim)
    pairs = [(a, b) for a, b in inputs]
    made: dict[tuple[torch.dtype, float], Tensor] = {}
    for dtype in (torch.float32, *HALVES):
        spec = StackSpec("random", "", "", "")
        weights = {name: tensor.to(dtype) for name, tensor in prior.state_dict().items()}
        placement, half = Placement(device, dtype), prior.sharing(weights)
        engine = Engine(RandomStack(spec, placement, random_prior=half))
        for guidance in settings.guidances:
            made[dtype, guidance] = _texture(engine, pairs, guidance, settings.steps)
    for guidance in settings.guidances:
        for dtype in HALVES:
            alike = _alike(made[dtype, guidance], made[torch.float32, guidance])
            yield dtype, f"random_prior_guidance{guidance:g}", alike


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
    names = [str(dtype).removeprefix("torch.") for dtype in HALVES]
    lines = [f"on {report.device}, beside float32", f"{'':28}" + "".join(f"{n:>12}" for n in names)]
    for part in parts:
        cells = "".join(f"{report.found[part, name]:12.6f}" for name in names)
        lines.append(f"{part.replace('_', ' '):28}{cells}")
    lines.append("smallest cosine of an embedding; of the decoder, mean levels of 255 of a picture")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("half", HalfBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
