"""Training, ours beside the published loop: on the same model and machine, in one run.

python -m benchmarks.training --json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import Limits, Stopwatch, cores, device_name, measure_limits
from benchmarks.models.published import PublishedPrior
from benchmarks.models.weights import random_model
from pops.data.cache.fingerprints import operator_traits, stats_digest
from pops.data.cache.format import CacheIndex, CacheShard, DatasetTraits, write_index, write_shard
from pops.data.cache.read import CachedSource
from pops.io.loading import quietly
from pops.io.machine.placement import choose_device
from pops.io.pictures import open_picture
from pops.operators import TEXTURING
from pops.prior.adapters import add_adapter
from pops.prior.model import Prior, PriorConfig
from pops.prior.schedule import Schedule, add_noise
from pops.settings.fields import BATCH, THREADS, WORKERS, Range, Settings, setting
from pops.stacks.stack import open_stack
from pops.training.devices import DeviceSettings, choose_precision
from pops.training.loop import Loop, LoopSettings
from pops.training.model import trained_parameters
from pops.training.state import State
from pops.training.step.learning_rate import LearningRate

with quietly():
    from transformers import (
        CLIPImageProcessorPil,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

__all__ = ["Models", "Report", "TrainingBenchmark", "compare", "main", "our_loop"]

ASSETS = Path(__file__).parents[1] / "assets"
RECORDS, VARIANTS = 512, 4  # of the cache
SIZE = (512, 512)  # of a picture before the image processor
TOKENS = 77  # of the empty text
LR = 1e-5


@dataclass(frozen=True, kw_only=True)
class TrainingBenchmark(Settings):
    """Compare how many samples a second are trained on with the published loop.

    The published way encodes the pictures of one sample a step and computes 81 tokens with
    diffusers' prior; ours reads batches from a cache and computes the tokens that are used. Both
    train texturing on the same weights with AdamW, the published way in full, and take turns in one
    run: on the pocket stack, and on a random prior with random encoders as large beside it as the
    real ones.
    """

    layers: int = setting(
        8, "transformer blocks of the random prior; 0: only the pocket stack", within=Range(0, 256)
    )
    heads: int = setting(16, "its attention heads, of 64 numbers each", within=Range(1, 1024))
    dim: int = setting(1280, "length of its embeddings", within=Range(1, 100_000))
    batch: int = setting(32, "examples in a step of ours", within=BATCH)
    rank: int = setting(
        0,
        "rank of an adapter that ours trains in place of all weights; 0: none",
        within=Range(0, 4096),
    )
    steps: int = setting(3, "steps in every turn", within=Range(1, 10**6))
    repeats: int = setting(3, "turns of each way", within=Range(1, 1000))
    workers: int | None = setting(
        None, "processes of the published loader; null: one a core", within=WORKERS
    )
    threads: int | None = setting(None, "CPU threads; null: one for each core", within=THREADS)
    device: str = setting("auto", "auto, cpu or cuda")
    matmul_size: int = setting(
        2048, "side of the square matrices that show the machine's peak", within=Range(1, 100_000)
    )
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.training --json",
        "python -m benchmarks.training --layers=20 --heads=32    # the full-size prior, on a GPU",
    )


@dataclass(frozen=True)
class Models:
    """The models that one comparison trains, and those that encode its pictures."""

    name: str
    prior: Prior
    image_encoder: nn.Module
    processor: Any
    text_encoder: nn.Module
    schedule: Schedule


@dataclass(frozen=True)
class Measured:
    """Samples a second of both ways on one stack, and the work of one sample of ours."""

    name: str
    parameters: int
    published: float
    ours: float
    flops: float  # multiplications and additions of one sample, forth and back

    @property
    def ratio(self) -> float:
        return self.ours / self.published


@dataclass(frozen=True)
class Report:
    """The measurements of every stack, and what the machine can do at most."""

    settings: TrainingBenchmark
    machine: str
    limits: Limits
    stacks: tuple[Measured, ...]

    def values(self) -> dict[str, float]:
        """List everything by name, the smallest ratio first.

        Returns:
            The numbers by name.
        """
        found = {"samples_per_s_ratio": min(stack.ratio for stack in self.stacks)}
        for stack in self.stacks:
            found[f"samples_per_s_ratio_{stack.name}"] = stack.ratio
            found[f"samples_per_s_published_{stack.name}"] = stack.published
            found[f"samples_per_s_ours_{stack.name}"] = stack.ours
            found[f"fraction_of_peak_{stack.name}"] = stack.ours * stack.flops / self.limits.flops
        return found | {"matmul_peak_flops": self.limits.flops, "batch": self.settings.batch}


def compare(settings: TrainingBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    threads = settings.threads or cores()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    accelerator = _accelerator(settings.device)
    device = accelerator.device
    half = accelerator.mixed_precision == "bf16"
    dtype = torch.bfloat16 if half else torch.float32  # of the products
    limits = measure_limits(device, dtype, settings.matmul_size, 64)
    makers = [pocket_models, *([random_models] if settings.layers else [])]
    stacks = tuple(_measure(settings, make(settings, device), accelerator) for make in makers)
    limits |= measure_limits(device, dtype, settings.matmul_size, 64)
    where = f"{device_name(device, threads)}, {str(dtype).removeprefix('torch.')}"
    return Report(settings, where, limits, stacks)


def _accelerator(device: str) -> Accelerator:
    chosen = choose_device(device)
    return Accelerator(
        mixed_precision=choose_precision(DeviceSettings(device)), cpu=chosen.type == "cpu"
    )


def pocket_models(settings: TrainingBenchmark, device: torch.device) -> Models:
    """Open the pocket stack as it is shipped."""
    stack = open_stack("pocket", device=str(device), dtype="float32")
    return Models(
        "pocket",
        stack.prior(stack.base_prior_state(), "pocket"),
        stack.image_encoder.model,
        stack.image_encoder.processor,
        stack.text_encoder.model,
        stack.schedule,
    )


def random_models(settings: TrainingBenchmark, device: torch.device) -> Models:
    """Make a random prior, and encoders with 1.8 and 0.7 times its parameters, as the real ones."""
    width = 64 * settings.heads
    with torch.device("meta"):
        prior = Prior(PriorConfig(settings.heads, 64, settings.layers, settings.dim))
        image = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=round(1.8 * settings.layers),
                num_attention_heads=settings.heads,
                patch_size=14,
                projection_dim=settings.dim,
            )
        )
        text = CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=max(1, round(0.7 * settings.layers)),
                num_attention_heads=settings.heads,
                projection_dim=settings.dim,
            )
        )
    prior, image, text = (random_model(m, device, torch.float32) for m in (prior, image, text))
    for model in (image, text):
        _fill_positions(model)
    return Models("mid_size", prior, image, CLIPImageProcessorPil(), text, Schedule())


def _fill_positions(model: nn.Module) -> None:
    """Fill the buffers of positions, which are in no state dict."""
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]))


def _measure(settings: TrainingBenchmark, models: Models, accelerator: Accelerator) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        ours = our_steps(settings, models, accelerator, Path(folder))
        published = published_steps(settings, models, accelerator)
        next(published)  # both are warm when the first turn begins
        with FlopCounterMode(display=False) as counter:
            next(ours)
        watch = Stopwatch(accelerator.device)
        seconds: list[tuple[float, float]] = []
        for _ in range(settings.repeats):
            turns = (lambda: _take(published, settings.steps), lambda: _take(ours, settings.steps))
            seconds.append((watch.total(turns[0])[1], watch.total(turns[1])[1]))
    theirs, own = (median(turn[way] for turn in seconds) for way in (0, 1))
    return Measured(
        models.name,
        sum(p.numel() for p in models.prior.parameters()),
        settings.steps / theirs,
        settings.steps * settings.batch / own,
        counter.get_total_flops() / settings.batch,
    )


def _take(steps: Iterator[object], count: int) -> None:
    for _ in islice(steps, count):
        pass


def our_steps(
    settings: TrainingBenchmark, models: Models, accelerator: Accelerator, folder: Path
) -> Iterator[object]:
    """Take the steps of the training loop of pops."""
    yield from our_loop(settings, models, accelerator, folder).steps()


def our_loop(
    settings: TrainingBenchmark, models: Models, accelerator: Accelerator, folder: Path
) -> Loop:
    """Make the training loop of pops on a cache of random embeddings.

    Args:
        settings: The batch.
        models: What is trained.
        accelerator: Where it is trained.
        folder: Where the cache is written.

    Returns:
        The loop, which logs nothing.
    """
    prior = _copy(models.prior)
    if settings.rank:
        add_adapter(prior, settings.rank)
    source = CachedSource([random_cache(folder, prior)], _stats(prior), TEXTURING)
    looped = LoopSettings(10**6, settings.batch, LearningRate(LR))
    optimiser = torch.optim.AdamW(
        trained_parameters(prior).values(),
        lr=LR,
        weight_decay=0.0,
        fused=accelerator.device.type == "cuda" or None,
    )
    model, prepared = accelerator.prepare(prior, optimiser)
    return Loop(
        settings=looped,
        accelerator=accelerator,
        model=model,
        prior=prior,
        schedule=models.schedule,
        source=source,
        state=State(trained_parameters(prior), prepared, accelerator.scaler),
        text_weights=torch.zeros(1),
        checkpoints=folder,
        card={},
        log=lambda step, values: None,
        validate=lambda step: None,
    )


def _copy(prior: Prior) -> Prior:
    """Copy the weights into tensors of their own, to be trained."""
    own = Prior(prior.config).to(prior.clip_mean.device)
    own.load_state_dict(prior.state_dict())
    return own.train()


def _stats(prior: Prior) -> dict[str, Tensor]:
    return {name: getattr(prior, name).detach().cpu() for name in ("clip_mean", "clip_std")}


def random_cache(folder: Path, prior: Prior) -> Path:
    """Write a cache of random embeddings: how fast it is read does not depend on what is in it."""
    dim = prior.config.embedding_dim
    rng = np.random.default_rng(0)
    distinct = RECORDS * VARIANTS
    write_index(
        folder,
        CacheIndex(
            stack="random",
            encoders={},
            clip_stats=stats_digest(_stats(prior)),
            dim=dim,
            operator=operator_traits(TEXTURING),
            recipe="texturing",
            recipe_version=1,
            settings={},
            datasets=[DatasetTraits(place="random", records=RECORDS, listing="")],
            variants=VARIANTS,
            seed=0,
            shard_records=RECORDS,
        ),
    )
    embeds = rng.standard_normal((distinct, dim), dtype=np.float32).astype(np.float16)
    rows = rng.integers(0, distinct, (RECORDS, VARIANTS, 3), dtype=np.int32)
    write_shard(folder, 0, CacheShard(list(range(RECORDS)), embeds, rows))
    return folder


class Pictures(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """(target, object, texture) as pixels (3, S, S), opened and resized anew every time."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.objects = sorted((ASSETS / "objects").glob("*.png"))
        self.textures = sorted((ASSETS / "textures").glob("*.png"))

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        target, texture = index % len(self.objects), index % len(self.textures)
        other = (index + 1) % len(self.objects)
        paths = (self.objects[target], self.objects[other], self.textures[texture])
        first, second, third = (self._pixels(path) for path in paths)
        return first, second, third

    def _pixels(self, path: Path) -> Tensor:
        picture = open_picture(path).resize(SIZE)
        pixels: Tensor = self.processor([picture], return_tensors="pt")["pixel_values"][0]
        return pixels


def published_steps(
    settings: TrainingBenchmark, models: Models, accelerator: Accelerator
) -> Iterator[Tensor]:
    """Train on one sample a step: encode pictures and the empty text, compute 81 tokens."""
    prior = _copy(models.prior)
    model = PublishedPrior(prior).model.requires_grad_(True).train()
    for name in ("clip_mean", "clip_std"):
        getattr(model, name).requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=LR, weight_decay=0.0)
    model, optimiser = accelerator.prepare(model, optimiser)
    workers = cores() if settings.workers is None else settings.workers
    loader = DataLoader(Pictures(models.processor), 1, shuffle=True, num_workers=workers)
    for pixels in loader:
        with torch.no_grad():
            target, *inputs = (_encode(models, p, prior, accelerator.device) for p in pixels)
            empty = torch.zeros(1, TOKENS, dtype=torch.long, device=accelerator.device)
            models.text_encoder(input_ids=empty)
        loss = _published_loss(model, models.schedule, target, inputs)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        yield loss.detach()


def _encode(models: Models, pixels: Tensor, prior: Prior, device: torch.device) -> Tensor:
    embeds = models.image_encoder(pixel_values=pixels.to(device)).image_embeds
    return (embeds - prior.clip_mean) / prior.clip_std


def _published_loss(
    model: Callable[..., Any], schedule: Schedule, target: Tensor, inputs: Sequence[Tensor]
) -> Tensor:
    slots = target.new_zeros(1, TOKENS, target.shape[1])
    mask = torch.zeros(1, TOKENS, dtype=torch.bool, device=target.device)
    for place, embeds in enumerate(inputs):
        slots[:, place], mask[:, place] = embeds, True
    t = torch.randint(schedule.train_timesteps, (1,), device=target.device)
    made = model(
        add_noise(target, torch.randn_like(target), t, schedule),
        timestep=t,
        proj_embedding=torch.zeros_like(target),
        encoder_hidden_states=slots,
        attention_mask=mask,
    ).predicted_image_embedding
    return F.mse_loss(made.float(), target.float())


def show(report: Report) -> str:
    """Write the report as text."""
    settings, peak = report.settings, report.limits.flops
    lines = [
        f"machine: {report.machine}, {peak / 1e9:,.0f} GFLOP/s in a matrix product",
        f"{'':12}{'parameters':>14}{'published':>14}{f'ours, {settings.batch}':>14}{'ratio':>9}"
        f"{'of peak':>9}   (samples a second)",
    ]
    for stack in report.stacks:
        lines.append(
            f"{stack.name.replace('_', ' '):12}{stack.parameters:>14,}{stack.published:>14.2f}"
            f"{stack.ours:>14.1f}{stack.ratio:>9.1f}{stack.ours * stack.flops / peak:>9.0%}"
        )
    lines.append(f"medians of {settings.repeats} interleaved turns of {settings.steps} steps")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("training", TrainingBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
