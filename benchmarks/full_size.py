"""A random stack of the real sizes: does it load, and how much memory and time does it take?

python -m benchmarks.full_size --json
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks import sizes
from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import cores, peak_bytes, synchronise
from benchmarks.models.weights import random_model
from pops.engine import Engine
from pops.errors import UsageError
from pops.io.loading import quietly
from pops.operators import OperatorCard, find_operator, save_operator
from pops.prior.model import Prior, PriorConfig
from pops.settings.fields import MOST_STEPS, SIZE, STEPS, THREADS, Range, Settings, setting
from pops.settings.groups import Dtype, Offload
from pops.stacks.spec import PRIOR_WEIGHTS, WEIGHTS

with quietly():
    from diffusers import DDPMScheduler, UnCLIPScheduler, UNet2DConditionModel, VQModel
    from transformers import (
        CLIPImageProcessorPil,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

__all__ = [
    "FullSizeBenchmark",
    "Report",
    "Sizes",
    "main",
    "make_stack",
    "measure",
    "run_stages",
    "stack_folder",
]

ASSETS = Path(__file__).parents[1] / "assets"
SEED = 18
OPERATORS = ("texturing", "instruct")
TEXT = "shiny"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PRIOR_SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": True,
    "clip_sample_range": 5.0,
    "num_train_timesteps": 1000,
    "prediction_type": "sample",
    "variance_type": "fixed_small_log",
}
DECODER_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "clip_sample": True,
    "clip_sample_range": 2.0,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "variance_type": "learned_range",
}

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class FullSizeBenchmark(Settings):
    """Run operators on a random stack as large as kandinsky-2.2, and tell the memory it takes.

    The stack is written in bfloat16 into a folder of its own (14 GB), loaded as any other, and
    removed in the end. Texturing is applied to two pictures, instruct to a picture and a text, and
    the result is rendered. A random stack's pictures show nothing; its sizes are the real ones.
    """

    folder: Path | None = setting(
        None, "where the stack is made, stays, and is used again; null: a temporary folder"
    )
    inputs: tuple[str, ...] = setting(
        (str(ASSETS / "objects/mug.png"), str(ASSETS / "textures/wood.png")),
        "the two pictures, or embeddings",
    )
    device: str = setting("cpu", "auto, cpu, cuda or mps")
    dtype: Dtype = setting("bfloat16", "number format the models are loaded in")
    offload: Offload = setting("none", "model: each is on the device only while it is used")
    steps: int = setting(25, "sampling steps of the operators", within=STEPS)
    render_steps: int = setting(
        2, "steps of the decoder; 0: render nothing", within=Range(0, MOST_STEPS)
    )
    render_size: int = setting(
        256, "pixels of a side of the picture, a multiple of 64", within=SIZE
    )
    threads: int | None = setting(None, "CPU threads; null: one for each core", within=THREADS)
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.full_size --json",
        "python -m benchmarks.full_size --dtype float32 --render_steps 0",
        "python -m benchmarks.full_size --device cuda --dtype int8    # on a card of 8 GB",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.inputs) != 2:
            raise UsageError(f"--inputs are two pictures, not {len(self.inputs)}")


@dataclass(frozen=True)
class Stage:
    """One stage of the run: the seconds it took, and the most memory in use until its end.

    On a CUDA device it is the memory that torch has taken there, elsewhere that of the process.
    """

    name: str
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Report:
    """The size of the stack on disk, and the time and memory of every stage."""

    settings: FullSizeBenchmark
    bytes_on_disk: int
    stages: tuple[Stage, ...]

    def values(self) -> dict[str, float]:
        """List everything by name, the sums first.

        Returns:
            The numbers by name.
        """
        return {
            "peak_bytes": max(stage.peak_bytes for stage in self.stages),
            "seconds": sum(stage.seconds for stage in self.stages),
            "bytes_on_disk": self.bytes_on_disk,
            **{f"{stage.name}_seconds": stage.seconds for stage in self.stages},
            **{f"{stage.name}_peak_bytes": stage.peak_bytes for stage in self.stages},
        }


def measure(settings: FullSizeBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    with stack_folder(settings.folder) as folder:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Report(settings, size, _apart(run_stages, folder, settings))


@contextmanager
def stack_folder(kept: Path | None, models: Sizes | None = None) -> Iterator[Path]:
    """Give the folder of a random stack, which is made where it is not there.

    Args:
        kept: A folder that stays; None: a temporary one, which is removed.
        models: The sizes of the models; None: those of kandinsky-2.2.

    Yields:
        The folder.
    """
    with ExitStack() as stack:
        folder = kept or Path(stack.enter_context(TemporaryDirectory(prefix="pops-full-size-")))
        if not (folder / "operators").is_dir():
            print(f"making random weights in {folder}", file=sys.stderr)
            make_stack(folder, models)
        yield folder


def _apart(run: Callable[..., Made], *arguments: object) -> Made:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


@dataclass(frozen=True)
class Sizes:
    """The configurations of the models of a stack; kandinsky-2.2's unless others are given."""

    image_encoder: CLIPVisionConfig = field(default_factory=lambda: sizes.IMAGE_ENCODER)
    text_encoder: CLIPTextConfig = field(default_factory=lambda: sizes.TEXT_ENCODER)
    prior: PriorConfig = PriorConfig()
    unet: dict[str, Any] = field(default_factory=lambda: sizes.KANDINSKY_UNET)
    movq: dict[str, Any] = field(default_factory=lambda: sizes.MOVQ)


def make_stack(folder: Path, models: Sizes | None = None) -> None:
    """Write random models in bfloat16 in the layout of the hub, the operators last.

    Args:
        folder: The folder of the stack, which is made.
        models: The sizes of the models; None: those of kandinsky-2.2.
    """
    models = models or Sizes()
    prior, decoder = folder / "prior", folder / "decoder"
    kinds: list[tuple[Path, Callable[[], Any]]] = [
        (prior / "image_encoder", lambda: CLIPVisionModelWithProjection(models.image_encoder)),
        (prior / "text_encoder", lambda: CLIPTextModelWithProjection(models.text_encoder)),
        (decoder / "unet", lambda: UNet2DConditionModel(**models.unet)),
        (decoder / "movq", lambda: VQModel(**models.movq)),
    ]
    with quietly():
        for place, build in kinds:
            _random(build).save_pretrained(place)  # one at a time: the largest takes 4 GB
    side = models.image_encoder.image_size
    CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    ).save_pretrained(prior / "image_processor")
    shutil.copytree(WEIGHTS / "prior" / "tokenizer", prior / "tokenizer", dirs_exist_ok=True)
    UnCLIPScheduler(**PRIOR_SCHEDULER).save_pretrained(prior / "scheduler")
    DDPMScheduler(**DECODER_SCHEDULER).save_pretrained(decoder / "scheduler")
    _write_priors(folder, models.prior)


def _write_priors(folder: Path, config: PriorConfig) -> None:
    """Write the base prior, and operators with the same weights."""
    state = _random(lambda: Prior(config)).state_dict()
    base = folder / "prior" / "prior"
    base.mkdir(parents=True, exist_ok=True)
    (base / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    save_file(state, base / PRIOR_WEIGHTS)
    for name in OPERATORS:
        card = OperatorCard(find_operator(name), folder.resolve().name)
        save_operator(folder / "operators" / name, card, state)


def _random(build: Callable[[], Any]) -> Any:
    torch.manual_seed(SEED)
    with torch.device("meta"):
        model: nn.Module = build()
    return random_model(model, torch.device("cpu"), torch.bfloat16)


def run_stages(folder: Path, settings: FullSizeBenchmark) -> tuple[Stage, ...]:
    """Encode, apply both operators and render, on the stack in a folder.

    Args:
        folder: The folder of the stack.
        settings: The inputs, steps and number format.

    Returns:
        The measurements of every stage, in order.
    """
    torch.set_num_threads(settings.threads or cores())
    stages: list[Stage] = []
    peaks: list[int] = []

    def stage(name: str, run: Callable[[], Made]) -> Made:
        start = perf_counter()
        made = run()
        synchronise(engine.stack.device)
        peaks.append(peak_bytes(engine.stack.device) or _process_peak())
        stages.append(Stage(name, perf_counter() - start, max(peaks)))
        return made

    engine = Engine.load(folder, settings.device, settings.dtype, offload=settings.offload)
    peak_bytes(engine.stack.device)  # forget the peak of what was before
    first, second = settings.inputs
    embeds = stage("encode", lambda: engine.encode([first, second]))
    given = (embeds[0], embeds[1])
    options: dict[str, Any] = {"seeds": [SEED], "steps": settings.steps}
    made = stage("texturing", lambda: engine.apply("texturing", [given], **options))
    stage("instruct", lambda: engine.apply("instruct", [(made,)], text=TEXT, **options))
    if settings.render_steps:
        size, steps = settings.render_size, settings.render_steps
        stage("render", lambda: engine.render(made, seeds=[0], steps=steps, size=size))
    return tuple(stages)


def _process_peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def show(report: Report) -> str:
    """Write the report as text."""
    settings = report.settings
    return "\n".join(
        [
            f"random stack of full size, {report.bytes_on_disk / 1e9:.1f} GB on disk, loaded in "
            f"{settings.dtype}; {settings.steps} steps, decoder {settings.render_steps} steps of "
            f"{settings.render_size} x {settings.render_size}",
            *(
                f"{stage.name:12}{stage.seconds:9.1f} s   peak so far "
                f"{stage.peak_bytes / 1e9:6.2f} GB"
                for stage in report.stages
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
    return run_benchmark("full_size", FullSizeBenchmark, measure, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
