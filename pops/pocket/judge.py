"""A small classifier of pocket pictures: which object, which material, which background."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from pops.errors import WeightsError
from pops.pocket.world.vocabulary import BACKGROUNDS, MATERIALS, OBJECTS

__all__ = ["QUESTIONS", "Judge", "load_judge"]

QUESTIONS: dict[str, tuple[str, ...]] = {
    "object": OBJECTS,
    "material": MATERIALS,
    "background": BACKGROUNDS,
}


class Judge(nn.Module):
    """Five strided convolutions and three answers."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128, 160)
        layers: list[nn.Module] = []
        for a, b in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({q: nn.Linear(4 * 160, len(QUESTIONS[q])) for q in QUESTIONS})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits to every question for pictures (N, 3, 64, 64) in [0, 1]."""
        seen = self.body(pictures * 2 - 1).flatten(1)
        seen = F.dropout(seen, 0.2, self.training)
        return {q: head(seen) for q, head in self.heads.items()}

    @torch.no_grad()
    def answer(self, pictures: Tensor) -> dict[str, Tensor]:
        """The index (N,) of the likeliest answer to every question."""
        return {q: logits.argmax(1) for q, logits in self(pictures).items()}


def load_judge(path: Path) -> Judge:
    """The shipped judge; WeightsError where the file is missing or does not fit."""
    judge = Judge()
    try:
        state = load_file(path)
        judge.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        )
    except Exception as error:
        raise WeightsError(
            f"{path}: not the judge's weights ({error}); rebuild the pocket stack"
        ) from error
    return judge.eval()
