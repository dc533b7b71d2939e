"""Stage `judge`: a small convolutional classifier of pictures.

It shares nothing with the encoders, so that decoder and operators are not marked by the model that
they were trained for.
"""

import random
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.build.data.batches import jitter, soften
from pops.pocket.build.data.labels import CLASSES, labels
from pops.pocket.build.data.pictures import SIZE, Pictures
from pops.pocket.build.fit import Fit, device
from pops.pocket.judge import Judge, JudgeConfig

__all__ = ["judge_fit", "train_judge"]

EACH = 24  # pictures of every kind in a batch
KINDS = ("single", "adjective", "pair", "outfit")
CONFIG = JudgeConfig(size=SIZE, widths=(32, 64, 96, 128, 128), questions=CLASSES)


def judge_fit(folder: Path) -> Fit:
    """Open the training of the judge.

    Args:
        folder: the folder of its state.

    Returns:
        The training, as it stands.
    """
    return Fit(folder, Judge(CONFIG), lr=2e-3, average=0.99, half=True)


def train_judge(folder: Path, data: Pictures, seconds: float) -> None:
    """Train the judge for some time.

    A batch has as many pictures of one kind as of any other. Each is moved a little, and some are
    blurred or made noisy.

    Args:
        folder: the folder of its state.
        data: the pictures.
        seconds: the time.
    """
    torch.manual_seed(0)
    fit = judge_fit(folder)
    rows = {k: [i for i, r in enumerate(data.records) if r["kind"] == k] for k in KINDS}
    answers = labels(data.records)

    def step(number: int) -> dict[str, Tensor]:
        rng = random.Random(f"judge/{number}")
        drawn = [row for own in rows.values() for row in rng.sample(own, min(EACH, len(own)))]
        pictures = soften(jitter(data.batch(drawn), rng), rng).to(device())
        said = fit.module(pictures)
        lost = {
            q: F.cross_entropy(said[q].float(), answers[q][drawn].to(device())) for q in CLASSES
        }
        worn = [lost.pop(q) for q in CLASSES if q.startswith("worn ")]
        return {**lost, "worn": torch.stack(worn).sum()}

    fit.run(seconds, step)
