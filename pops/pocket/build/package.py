"""The trained parts as a stack folder in half precision, and stage `pack`: all of it at once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import UnCLIPScheduler, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPImageProcessorPil

from pops.errors import UsageError
from pops.io.files import atomic_path
from pops.operators import OPERATORS
from pops.pocket.build.data.pictures import SIZE
from pops.pocket.build.fit import Fit
from pops.pocket.build.models.clip import MEAN, SEEN_SIZE, STD, Clip
from pops.pocket.build.models.decoder import decoder_scheduler
from pops.pocket.build.models.priors import CLIP_RANGE
from pops.pocket.build.work import Build
from pops.pocket.judge import JUDGE_CONFIG, JUDGE_WEIGHTS, Judge
from pops.pocket.world.split import SPLIT_NAME
from pops.prior.model import Prior

__all__ = [
    "benchmark",
    "pack",
    "pack_encoders",
    "pack_judge",
    "pack_movq",
    "pack_prior",
    "pack_unet",
]

RENDER = {"steps": 30, "guidance": 2.0, "size": SIZE, "sizes": [SIZE]}
# Part of a stack -> the stage that makes it.
_PARTS = {
    "prior/image_encoder": "clip",
    "prior/text_encoder": "clip",
    "prior/prior": "prior",
    "decoder/movq": "autoencoder",
    "decoder/unet": "decoder",
    "judge": "judge",
    **{f"operators/{name}": "operators" for name in OPERATORS},
}


def _half(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in module.state_dict().items()
    }


def _write_json(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_text(json.dumps(found, indent=2) + "\n")


def pack_encoders(clip: nn.Module, stack: Path) -> None:
    """Encoders, tokenizer and image processor; and what makes their folder a pipeline's."""
    assert isinstance(clip, Clip)
    out = stack / "prior"
    clip.vision.half().save_pretrained(out / "image_encoder")
    clip.text.half().save_pretrained(out / "text_encoder")
    clip.tokenizer.save_pretrained(out / "tokenizer")
    CLIPImageProcessorPil(
        size={"shortest_edge": SEEN_SIZE},
        crop_size={"height": SEEN_SIZE, "width": SEEN_SIZE},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(out / "image_processor")
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
    _write_json(out / "model_index.json", index)


def pack_prior(prior: nn.Module, stack: Path) -> None:
    """The base prior, which also holds what normalises embeddings."""
    assert isinstance(prior, Prior)
    folder = stack / "prior" / "prior"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "diffusion_pytorch_model.safetensors") as path:
        save_file(_half(prior), path)
    _write_json(folder / "config.json", prior.config.to_dict())


def _decoder_index(out: Path) -> None:
    index = {
        "_class_name": "KandinskyV22Pipeline",
        "movq": ["diffusers", "VQModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    _write_json(out / "model_index.json", index)


def pack_movq(movq: nn.Module, stack: Path) -> None:
    """What draws pictures of latents."""
    assert isinstance(movq, VQModel)
    plain = movq.to(memory_format=torch.contiguous_format)
    plain.half().save_pretrained(stack / "decoder" / "movq")
    _decoder_index(stack / "decoder")


def pack_unet(unet: nn.Module, stack: Path) -> None:
    """The diffusion model, its scheduler, and how the pipeline is best used."""
    assert isinstance(unet, UNet2DConditionModel)
    out = stack / "decoder"
    unet.to(memory_format=torch.contiguous_format).half().save_pretrained(out / "unet")
    decoder_scheduler().save_pretrained(out / "scheduler")
    (out / "render.json").write_text(json.dumps(RENDER) + "\n")
    _decoder_index(out)


def pack_judge(judge: nn.Module, stack: Path) -> None:
    assert isinstance(judge, Judge)
    folder = stack / "judge"
    _write_json(folder / JUDGE_CONFIG, judge.config.to_dict())
    with atomic_path(folder / JUDGE_WEIGHTS) as path:
        save_file(_half(judge), path)


def pack(build: Build) -> None:
    """Copy the whole stack into the folder that is shipped, with curves and report.

    Raises:
        UsageError: a part is missing; names the stage that makes it. Nothing is copied then.
    """
    for part, stage in _PARTS.items():
        if not (build.stack / part).exists():
            raise UsageError(f"{build.stack / part} is missing: run the stage {stage} first")
    for name in ("prior", "decoder", "judge", "operators"):
        shutil.rmtree(build.out / name, ignore_errors=True)
        shutil.copytree(build.stack / name, build.out / name)
    _write_report(build)


def _curves(fits: dict[str, Fit], out: Path) -> None:
    """One picture of every stage's losses over its seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(fits) // 4)
    figure, axes = pyplot.subplots(
        rows, 4, figsize=(14, 3 * rows), constrained_layout=True, squeeze=False
    )
    for axis in axes.flat[len(fits) :]:
        axis.axis("off")
    for axis, (name, fit) in zip(axes.flat, fits.items(), strict=False):
        for key in (k for k in fit.curve[0] if k not in ("step", "seconds")) if fit.curve else ():
            axis.plot(
                [p["seconds"] / 60 for p in fit.curve], [p[key] for p in fit.curve], label=key, lw=1
            )
        axis.set(title=name, xlabel="minutes", yscale="log")
        if fit.curve:
            axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(out / "curves.png") as path:
        figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _sizes(out: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(out.rglob("*.safetensors")):
        yield str(path.relative_to(out)), path.stat().st_size


def _write_report(build: Build) -> None:
    """Curves, and what the build saw, beside the weights; the benchmark's numbers are kept."""
    fits = build.fits()
    _curves(fits, build.out)
    path = build.out / "report.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    report["build"] = {
        "split": SPLIT_NAME,
        "stages": {
            name: {"steps": f.step, "seconds": round(f.seconds), "last": f.curve[-1:]}
            for name, f in fits.items()
        },
        "bytes": dict(_sizes(build.out)),
    }
    _write_json(path, report)


def benchmark(build: Build) -> None:
    """Add what the pocket benchmark says of the packed stack to the report."""
    from pops.engine import Engine
    from pops.evaluation.pocket.run import evaluate

    path = build.out / "report.json"
    if not path.exists():
        raise UsageError(f"{path} is missing: run the stage pack first")
    report = json.loads(path.read_text())
    report["benchmark"] = evaluate(engine=Engine.load(build.out))
    _write_json(path, report)
