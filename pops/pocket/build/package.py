"""Stages `pack` and `benchmark`, and the writing of trained parts into a stack folder.

The parts of the folder are in half precision.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UnCLIPScheduler, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPImageProcessorPil

from pops.errors import UsageError, install_hint
from pops.io.files import atomic_path
from pops.io.formats.schema import write_json
from pops.operators import GARMENTS as SLOTS
from pops.operators import OPERATORS
from pops.pocket.build.data.pictures import SIZE
from pops.pocket.build.fit import Fit
from pops.pocket.build.models.clip import MEAN, SEEN_SIZE, STD, Clip
from pops.pocket.build.models.decoder import decoder_scheduler
from pops.pocket.build.models.priors import CLIP_RANGE
from pops.pocket.build.work import Build
from pops.pocket.judge import JUDGE_CONFIG, JUDGE_WEIGHTS, Judge
from pops.pocket.world.scene import plural
from pops.pocket.world.split import SPLIT_NAME
from pops.pocket.world.vocabulary import (
    ADJECTIVES,
    BACKGROUND_WORDS,
    GARMENTS,
    MATERIAL_WORDS,
    OBJECTS,
)
from pops.prior.model import Prior
from pops.stacks.known import KNOWN
from pops.training.outputs.curves import draw_panels

__all__ = [
    "benchmark",
    "known_words",
    "pack",
    "pack_known",
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
    write_json(path, found)


def pack_encoders(clip: nn.Module, stack: Path) -> None:
    """Write encoders, tokenizer, image processor and scheduler as the folder of a prior pipeline.

    Args:
        clip: the trained `Clip`.
        stack: the stack folder.
    """
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


def known_words() -> list[str]:
    """List all words that captions and instructions of the pocket world are made of.

    Returns:
        The words, each once, those of instructions first.
    """
    named = [*OBJECTS, *map(plural, OBJECTS), *GARMENTS, *SLOTS, *MATERIAL_WORDS.values()]
    linking = "a an and empty person place texture wearing many"
    phrases = [*ADJECTIVES, *named, *BACKGROUND_WORDS.values(), *linking.split()]
    return list(dict.fromkeys(word for phrase in phrases for word in phrase.split()))


def pack_known(stack: Path) -> None:
    """Write down the words that the text encoder knows, so that others are named.

    Args:
        stack: the folder of the stack.
    """
    known = {"words": known_words(), "examples": list(ADJECTIVES)}
    _write_json(stack / "prior" / KNOWN, known)


def pack_prior(prior: nn.Module, stack: Path) -> None:
    """Write the base prior, which also holds the mean and deviation that normalise embeddings.

    Args:
        prior: the trained `Prior`.
        stack: the stack folder.
    """
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
    """Write the autoencoder, whose decoder draws pictures from latents.

    Args:
        movq: the trained `VQModel`.
        stack: the stack folder.
    """
    assert isinstance(movq, VQModel)
    plain = movq.to(memory_format=torch.contiguous_format)
    plain.half().save_pretrained(stack / "decoder" / "movq")
    _decoder_index(stack / "decoder")


def pack_unet(unet: nn.Module, stack: Path) -> None:
    """Write the decoder's diffusion model, its scheduler, and the default render settings.

    Args:
        unet: the trained `UNet2DConditionModel`.
        stack: the stack folder.
    """
    assert isinstance(unet, UNet2DConditionModel)
    out = stack / "decoder"
    unet.to(memory_format=torch.contiguous_format).half().save_pretrained(out / "unet")
    decoder_scheduler().save_pretrained(out / "scheduler")
    (out / "render.json").write_text(json.dumps(RENDER) + "\n", encoding="utf-8")
    _decoder_index(out)


def pack_judge(judge: nn.Module, stack: Path) -> None:
    """Write the judge.

    Args:
        judge: the trained `Judge`.
        stack: the stack folder.
    """
    assert isinstance(judge, Judge)
    folder = stack / "judge"
    _write_json(folder / JUDGE_CONFIG, judge.config.to_dict())
    weights = _half(judge)
    # Two thirds of its numbers are in the heads, for whose weights 8 bits are enough.
    heads = {f"heads.{question}.weight" for question in judge.config.questions}
    small = {k: v.to(torch.float8_e4m3fn) if k in heads else v for k, v in weights.items()}
    with atomic_path(folder / JUDGE_WEIGHTS) as path:
        save_file(small, path)


def pack(build: Build) -> None:
    """Copy the whole stack into the folder that is shipped, with curves and a report.

    Args:
        build: the build.

    Raises:
        UsageError: a part is missing; names the stage that makes it. Nothing is copied then.
    """
    for part, stage in _PARTS.items():
        if not (build.stack / part).exists():
            raise UsageError(f"{build.stack / part} is missing: run the stage {stage} first")
    pack_known(build.stack)
    for name in ("prior", "decoder", "judge", "operators"):
        shutil.rmtree(build.out / name, ignore_errors=True)
        shutil.copytree(build.stack / name, build.out / name)
    _write_report(build)


def _panels(fits: Mapping[str, Fit]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Arrange the losses of every stage over its minutes as the panels of one picture."""
    return {
        name: {
            key: [(point["seconds"] / 60, point[key]) for point in fit.curve if key in point]
            for key in (fit.curve[-1] if fit.curve else ())
            if key not in ("step", "seconds")
        }
        for name, fit in fits.items()
    }


def _sizes(out: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(out.rglob("*.safetensors")):
        yield str(path.relative_to(out)), path.stat().st_size


def _write_report(build: Build) -> None:
    """Write curves and facts of the build beside the weights; keep the benchmark's numbers."""
    fits = build.fits()
    if not draw_panels(_panels(fits), build.out / "curves.png", x_label="minutes", log_y=True):
        print(f"pack: no curves are drawn: {install_hint('build')}", flush=True)
    path = build.out / "report.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
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
    """Run the pocket benchmark on the packed stack and add its numbers to the report.

    Args:
        build: the build.

    Raises:
        UsageError: nothing has been packed.
    """
    from pops.engine import Engine
    from pops.evaluation.pocket.run import evaluate

    path = build.out / "report.json"
    if not path.exists():
        raise UsageError(f"{path} is missing: run the stage pack first")
    report = json.loads(path.read_text(encoding="utf-8"))
    report["benchmark"] = evaluate(engine=Engine.load(build.out))
    _write_json(path, report)
