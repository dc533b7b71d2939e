"""Tiny random models as the stages of data generation: real pipelines, at little cost.

What they draw is noise, in which no thing is seen. So detection and foreground run their models and
then say where the things would be: two labels, two halves of the picture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pops.datagen.models.diffusion import DepthDiffusion, Inpainter, Sampling, TextToImage
from pops.datagen.models.vision import Foreground, OnnxForeground, Owl
from pops.datagen.stages import Box, Detect, Detection, Segment, StageModel, Stages
from pops.datagen.words import PromptWords
from pops.io.loading import quietly
from pops.io.machine.placement import HOST

__all__ = ["TINY_WORDS", "tiny_stages"]

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
LABELS = ("left thing", "right thing")
TINY_WORDS = PromptWords(
    LABELS, ("at night", "on the beach"), ("wood", "gold", "clay", "ice", "moss")
)


@contextmanager
def tiny_stages(size: int) -> Iterator[Stages]:
    """Load stages that draw small pictures, in the published numbers of steps.

    Args:
        size: The pixels of a side of a picture.

    Yields:
        The stages, whose models are removed in the end.
    """
    from benchmarks.models import tiny_datagen

    with tempfile.TemporaryDirectory() as root:
        tokenizer = GOLDEN / "kandinsky-tiny-prior" / "tokenizer"
        with quietly():
            folders = tiny_datagen.make_all(Path(root), tokenizer)
        seen = Foreground(size)
        answers = {
            "text2image": TextToImage.load(folders["turbo"], HOST, Sampling(4, 0.0, size)),
            "depth2image": DepthDiffusion.load(folders["sd2_depth"], HOST, Sampling(50, 7.5, size)),
            "detect": _Detection(Owl.load(folders["owlv2"], HOST)),
            "segment": _Masks(
                OnnxForeground.load(folders["rmbg"] / "onnx" / "model.onnx", HOST, seen)
            ),
            "inpaint": Inpainter.load(folders["inpaint"], HOST, Sampling(25, 8.0, size)),
        }
        model = StageModel("tiny random models", "none", "Apache-2.0")
        yield Stages(
            {stage: lambda answer=answer: answer for stage, answer in answers.items()},
            dict.fromkeys(answers, model),
        )


def _half(label: str, width: int, height: int) -> Box:
    left = LABELS.index(label) * width // 2
    return left, 0, left + width // 2, height


class _Detection:
    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, asked: Sequence[Detect]) -> list[Detection]:
        self.model(asked)
        return [Detection(_half(r.label, *r.picture.image.size), 1.0) for r in asked]


class _Masks:
    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, asked: Sequence[Segment]) -> list[np.ndarray]:
        masks = self.model(asked)
        for mask, request in zip(masks, asked, strict=True):
            x1, y1, x2, y2 = request.box or (0, 0, *request.picture.image.size)
            mask[:] = False
            mask[y1 : (y1 + y2) // 2, x1:x2] = True
        return masks
