"""The pocket stack's encoders and classifier, in the place of the hub's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pops.datagen.words import with_article
from pops.evaluation.models.windows import Windows
from pops.evaluation.pocket.judged import as_pixels, see
from pops.evaluation.stages import Describe, Look, Read, See, Seen, Understand
from pops.pocket.judge import Judge, load_judge
from pops.pocket.world.vocabulary import MATERIAL_WORDS, OBJECTS
from pops.stacks.spec import WEIGHTS
from pops.stacks.stack import Stack, open_stack

__all__ = ["PocketCaptions", "PocketClip", "PocketFeatures", "PocketSentences", "pocket_windows"]


class PocketClip:
    """The encoders of a stack: the space that its operators work in."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    @classmethod
    def load(cls, place: str, device: str) -> PocketClip:
        """Open the stack.

        Args:
            place: Its name or folder.
            device: Where its models run.

        Returns:
            The stage.
        """
        return cls(open_stack(place, device=device))

    def __call__(self, asked: Sequence[Look | Read]) -> list[np.ndarray]:
        looks = [request.picture.convert("RGB") for request in asked if isinstance(request, Look)]
        texts = [request.text for request in asked if isinstance(request, Read)]
        seen = iter(self.stack.image_encoder.encode(looks) if looks else ())
        read = (encoding.text_embeds for encoding in self.stack.text_encoder.encode(texts))
        rows = [next(seen if isinstance(request, Look) else read) for request in asked]
        return list(F.normalize(torch.stack(rows), dim=-1).numpy())


def pocket_windows(place: str, device: str) -> Windows:
    """Make a detector of the encoders of the pocket stack.

    Args:
        place: The name or folder of the stack.
        device: Where its models run.

    Returns:
        The stage.
    """
    return Windows(PocketClip.load(place, device), OBJECTS)


class _Judged:
    """The classifier of the pocket stack, which shares nothing with its encoders."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def pixels(self, asked: Sequence[Any]) -> torch.Tensor:
        """Prepare pictures (N, 3, S, S) in [0, 1] as the classifier takes them."""
        side = (self.judge.config.size,) * 2
        return as_pixels([request.picture.convert("RGB").resize(side) for request in asked])

    @classmethod
    def load(cls, place: str, device: str) -> Any:
        """Load the classifier, on the CPU.

        Args:
            place: `pocket`.
            device: Not used: it is small.

        Returns:
            The stage.
        """
        return cls(load_judge(WEIGHTS / "judge"))


class PocketFeatures(_Judged):
    """The features of the classifier, of the whole picture and of each place in it."""

    @torch.no_grad()
    def __call__(self, asked: Sequence[See]) -> list[Seen]:
        flat = self.judge.features(self.pixels(asked))
        wholes = F.normalize(flat, dim=1).numpy()
        places = flat.view(len(flat), self.judge.config.widths[-1], -1)  # (N, C, h * w)
        patches = places.transpose(1, 2).numpy()
        return [Seen(*one) for one in zip(wholes, patches, strict=True)]


class PocketCaptions(_Judged):
    """Captions in the words of the classifier's answers."""

    def __call__(self, asked: Sequence[Describe]) -> list[str]:
        side = (self.judge.config.size,) * 2
        pictures = [request.picture.convert("RGB").resize(side) for request in asked]
        return [_caption(answers) for answers in see(self.judge, pictures)]


def _caption(answers: dict[str, str | None]) -> str:
    material = MATERIAL_WORDS.get(answers.get("material") or "")
    words = [answers.get("adjective"), material, answers.get("object") or "thing"]
    return with_article(" ".join(word for word in words if word))


class PocketSentences:
    """The text encoder of the pocket stack, on sentences."""

    def __init__(self, clip: PocketClip) -> None:
        self.clip = clip

    @classmethod
    def load(cls, place: str, device: str) -> PocketSentences:
        """Open the stack.

        Args:
            place: Its name or folder.
            device: Where its models run.

        Returns:
            The stage.
        """
        return cls(PocketClip.load(place, device))

    def __call__(self, asked: Sequence[Understand]) -> list[np.ndarray]:
        return self.clip([Read(request.text) for request in asked])
