"""Stage `judge`: a small convolutional classifier of renderings.

It shares nothing with the encoders, so that decoder and operators are not marked by the very
model that they work for.
"""

import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pops.pocket.build.clip import soften
from pops.pocket.build.fit import Fit, device
from pops.pocket.build.labels import labels
from pops.pocket.build.pictures import Pictures
from pops.pocket.judge import QUESTIONS, Judge

__all__ = ["judge_fit", "train_judge"]

BATCH = 64


def judge_fit(folder: Path) -> Fit:
    return Fit(folder, Judge(), lr=2e-3, average=0.99)


def train_judge(folder: Path, data: Pictures, seconds: float) -> None:
    """Train on pictures of single objects, softened now and then."""
    torch.manual_seed(0)
    fit = judge_fit(folder)
    single = [i for i, r in enumerate(data.records) if r["kind"] == "single"]
    answers = labels([data.records[i] for i in single])
    index = np.array(single)

    def step(number: int) -> dict[str, Tensor]:
        rng = random.Random(f"judge/{number}")
        rows = rng.sample(range(len(single)), BATCH)
        pictures = soften(data.batch(index[rows]), rng).to(device())
        said = fit.module(pictures)
        right = {q: answers[q][rows].to(device()) for q in QUESTIONS}
        return {q: F.cross_entropy(said[q], right[q]) for q in QUESTIONS}

    assert isinstance(fit.module, nn.Module)
    fit.run(seconds, step)
