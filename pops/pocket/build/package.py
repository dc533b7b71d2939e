"""Stage `pack`: the trained parts as a stack folder in half precision, and what the build saw."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UnCLIPScheduler
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPImageProcessorPil

from pops.io.files import atomic_path
from pops.operators import OperatorCard, find_operator, save_operator
from pops.pocket.build.clip import MEAN, STD
from pops.pocket.build.decoder import decoder_scheduler
from pops.pocket.build.fit import Fit
from pops.pocket.build.pictures import SIZE
from pops.pocket.build.priors import CLIP_RANGE
from pops.pocket.build.work import Build
from pops.pocket.judge import load_judge
from pops.pocket.world.split import OUTFIT_SPLIT, PAIR_SPLIT, SPLIT_NAME
from pops.pocket.world.vocabulary import ADJECTIVES
from pops.prior.model import Prior

__all__ = [
    "benchmark",
    "pack",
    "pack_decoder",
    "pack_operators",
    "pack_prior",
    "write_report",
]

RENDER = {"steps": 30, "guidance": 2.0, "size": SIZE}
# The published guidance of 8 drives these small priors past the pictures they know.
GUIDANCE = {"texturing": 2.0, "union": 3.0, "scene": 2.0, "instruct": 3.0, "clothes": 3.0}
_SPLITS = {"union": PAIR_SPLIT, "clothes": OUTFIT_SPLIT}  # the others': SPLIT_NAME


def _half(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in module.state_dict().items()
    }


def _save_prior(prior: Prior, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "diffusion_pytorch_model.safetensors") as path:
        save_file(_half(prior), path)
    (folder / "config.json").write_text(json.dumps(prior.config.to_dict(), indent=2) + "\n")


def pack_prior(build: Build, out: Path) -> None:
    """Encoders, tokenizer, image processor, base prior and its scheduler."""
    clip = build.clip
    clip.vision.half().save_pretrained(out / "image_encoder")
    clip.text.half().save_pretrained(out / "text_encoder")
    clip.tokenizer.save_pretrained(out / "tokenizer")
    CLIPImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(out / "image_processor")
    _save_prior(build.base, out / "prior")
    UnCLIPScheduler(
        variance_type="fixed_small_log",
        clip_sample=True,
        clip_sample_range=CLIP_RANGE,
        prediction_type="sample",
    ).save_pretrained(out / "scheduler")
    index = {
        "_class_name": "KandinskyV22PriorPipeline",
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "image_processor": ["transformers", "CLIPImageProcessor"],
        "prior": ["diffusers", "PriorTransformer"],
        "scheduler": ["diffusers", "UnCLIPScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def pack_decoder(build: Build, out: Path) -> None:
    """The diffusion model, MoVQ, their scheduler, and how the pipeline is best used."""
    build.unet.to(memory_format=torch.contiguous_format).half().save_pretrained(out / "unet")
    movq = build.autoencoder.to(memory_format=torch.contiguous_format)
    movq.half().save_pretrained(out / "movq")
    decoder_scheduler().save_pretrained(out / "scheduler")
    (out / "render.json").write_text(json.dumps(RENDER) + "\n")
    index = {
        "_class_name": "KandinskyV22Pipeline",
        "movq": ["diffusers", "VQModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _pack_operator(name: str, fit: Fit, out: Path) -> None:
    prior = fit.smooth
    assert isinstance(prior, Prior)
    constant = ("clip_mean", "clip_std")  # of the stack; absent from an operator
    split = _SPLITS.get(name, SPLIT_NAME)
    training = {"steps": fit.step, "seconds": round(fit.seconds), "split": split}
    row = replace(find_operator(name), guidance=GUIDANCE[name])
    if row.takes_text:
        training["words"] = ", ".join(ADJECTIVES)
    card = OperatorCard(operator=row, stack="pocket", training=training)
    state = {k: v for k, v in _half(prior).items() if k not in constant}
    save_operator(out / name, card, state)


def pack_operators(build: Build, out: Path) -> None:
    """The operators that the build is to train."""
    fits = build.fits()
    for name in build.operators:
        _pack_operator(name, fits[name], out)


def _curves(fits: dict[str, Fit], out: Path) -> None:
    """One picture of every stage's losses over its seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(fits) // 4)
    figure, axes = pyplot.subplots(rows, 4, figsize=(14, 3 * rows), constrained_layout=True)
    for axis in axes.flat[len(fits) :]:
        axis.axis("off")
    for axis, (name, fit) in zip(axes.flat, fits.items(), strict=False):
        for key in (k for k in fit.curve[0] if k not in ("step", "seconds")) if fit.curve else ():
            axis.plot(
                [p["seconds"] / 60 for p in fit.curve], [p[key] for p in fit.curve], label=key, lw=1
            )
        axis.set(title=name, xlabel="minutes", yscale="log")
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(out / "curves.png") as path:
        figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _sizes(out: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(out.rglob("*.safetensors")):
        yield str(path.relative_to(out)), path.stat().st_size


def benchmark(out: Path) -> None:
    """Add what the pocket benchmark says of the packed operators to the report."""
    from pops.engine import Engine
    from pops.evaluation.pocket.run import evaluate

    path = out / "report.json"
    report = json.loads(path.read_text())
    judge = load_judge(out / "judge" / "model.safetensors")
    report["benchmark"] = evaluate(engine=Engine.load(out), judge=judge)
    with atomic_path(path) as part:
        part.write_text(json.dumps(report, indent=2) + "\n")


def pack(build: Build, out: Path) -> None:
    """Write the whole stack folder; the numbers of its benchmark in the report are kept."""
    out.mkdir(parents=True, exist_ok=True)
    fits = build.fits()
    pack_prior(build, out / "prior")
    pack_decoder(build, out / "decoder")
    pack_operators(build, out / "operators")
    (out / "judge").mkdir(exist_ok=True)
    with atomic_path(out / "judge" / "model.safetensors") as path:
        save_file(_half(fits["judge"].smooth), path)
    write_report(build, out)


def write_report(build: Build, out: Path) -> None:
    """Curves, and what the build saw, beside the weights."""
    fits = build.fits()
    _curves(fits, out)
    report: dict[str, Any] = {}
    if (out / "report.json").exists():
        report = json.loads((out / "report.json").read_text())
    report["build"] = {
        "split": SPLIT_NAME,
        "stages": {
            name: {"steps": f.step, "seconds": round(f.seconds), "last": f.curve[-1:]}
            for name, f in fits.items()
        },
        "bytes": dict(_sizes(out)),
    }
    with atomic_path(out / "report.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
