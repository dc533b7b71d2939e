"""A small classifier of pocket pictures, thing by thing: which object, of what, where, how many.

It answers the questions that its `config.json` names. The answers are numbered as in
`pops.pocket.build.data.labels`: those of the vocabulary first, so that judges of other sizes agree.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pops.errors import WeightsError
from pops.io.formats.schema import Meta, fit, read_json
from pops.io.formats.tensors import read_tensors

__all__ = ["JUDGE_CONFIG", "JUDGE_WEIGHTS", "Judge", "JudgeConfig", "load_judge"]

JUDGE_CONFIG, JUDGE_WEIGHTS = "config.json", "model.safetensors"

Size = Annotated[int, Meta(ge=1, le=1024)]
Width = Annotated[int, Meta(ge=1, le=4096)]
# The name of a module, too, so without dots; some are of two words, such as "worn hat".
Question = Annotated[str, Meta(max_length=100, pattern=r"^\w+( \w+)*\Z")]


@dataclass(frozen=True)
class JudgeConfig:
    """The shape of a judge.

    size: pixels a side of what it sees. widths: channels of its convolutions, each of which halves
    the sides. questions: each with the number of its answers.
    """

    size: Size
    widths: Annotated[tuple[Width, ...], Meta(min_length=1, max_length=10)]
    questions: Annotated[dict[Question, Width], Meta(min_length=1, max_length=100)]

    def to_dict(self) -> dict[str, Any]:
        """Write the config down as `from_dict` reads it.

        Returns:
            Plain data, for JSON.
        """
        return {**asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, found: dict[str, Any], source: str = "judge config") -> "JudgeConfig":
        """Read a config.

        Args:
            found: plain data, as `to_dict` gives it.
            source: the name of the file, for messages.

        Returns:
            The config.

        Raises:
            WeightsError: a field is missing, of another kind or out of bounds.
        """
        config = fit(found, cls, WeightsError, source)
        if config.size < 2 ** len(config.widths):
            raise WeightsError(
                f"{source}: size: {config.size} cannot be halved {len(config.widths)} times, once "
                "for each of the widths"
            )
        return config


class Judge(nn.Module):
    """Strided convolutions, and for every question a linear answer that knows left from right."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        widths = (3, *config.widths)
        layers: list[nn.Module] = []
        for a, b in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        seen = widths[-1] * (config.size // 2 ** len(config.widths)) ** 2
        self.heads = nn.ModuleDict({q: nn.Linear(seen, n) for q, n in config.questions.items()})

    def features(self, pictures: Tensor) -> Tensor:
        """Compute the features that the answers are read from.

        Args:
            pictures: (N, 3, H, W) in [0, 1]; they are resized to the judge's own size.

        Returns:
            Features (N, F).
        """
        size = (self.config.size,) * 2
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(pictures, size, mode="bilinear", antialias=True)
        out: Tensor = self.body(pictures * 2 - 1).flatten(1)
        return out

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Answer all questions.

        Args:
            pictures: (N, 3, H, W) in [0, 1].

        Returns:
            For each question the logits (N, answers).
        """
        seen = F.dropout(self.features(pictures), 0.4, self.training)
        return {q: head(seen) for q, head in self.heads.items()}

    @torch.no_grad()
    def answer(self, pictures: Tensor) -> dict[str, Tensor]:
        """Give the likeliest answers.

        Args:
            pictures: (N, 3, H, W) in [0, 1].

        Returns:
            For each question the index (N,) of its likeliest answer.
        """
        return {q: logits.argmax(1) for q, logits in self(pictures).items()}


def load_judge(folder: Path) -> Judge:
    """Load the judge of a stack.

    Args:
        folder: the folder of its config and weights.

    Returns:
        The judge, in evaluation mode.

    Raises:
        WeightsError: its files are missing, damaged, or do not fit each other.
    """
    path, weights = folder / JUDGE_CONFIG, folder / JUDGE_WEIGHTS
    config = JudgeConfig.from_dict(read_json(path, dict[str, Any], WeightsError), str(path))
    state = read_tensors(weights)
    with torch.device("meta"):  # so that a config of vast layers takes no memory
        judge = Judge(config)
    try:
        judge.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{weights} does not fit its {JUDGE_CONFIG}: {reason}") from error
    return judge.eval().requires_grad_(False)
