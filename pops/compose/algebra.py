"""The arithmetic of compositions, on rows of embeddings in un-normalised CLIP space.

Each function but `sample_texts` takes the stack, its inputs' rows (R, D), one for each seed or a
single one, and its arguments; it gives rows (R, D). Normalised space, in which arcs and sums are
taken, is that of the prior: (e - clip_mean) / clip_std.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from pops.compose.calls import TEXT_GUIDANCE
from pops.compose.nodes import Call
from pops.io.embeddings import Embeddings
from pops.settings.sampling import SamplingSettings
from pops.stacks.concepts import read_concept
from pops.stacks.encoding import encode_texts

if TYPE_CHECKING:
    from pops.settings.progress import Progress
    from pops.stacks.stack import Stack

__all__ = [
    "Subspace",
    "add",
    "check_swap",
    "direction",
    "mix",
    "sample_texts",
    "slerp",
    "swap",
    "take_mean",
]

HELD = 0.99  # of the variance of a list of texts


class _MakesTexts(Protocol):
    """The part of the engine that makes embeddings from texts."""

    def text(
        self,
        texts: Sequence[str],
        *,
        negative: Sequence[str],
        progress: Progress | None,
        **how: Any,
    ) -> Embeddings: ...


def sample_texts(
    engine: _MakesTexts,
    calls: Sequence[Call],
    sampling: SamplingSettings,
    progress: Progress | None,
) -> list[Embeddings]:
    """Sample the base prior for texts, those of one guidance together.

    Args:
        engine: what samples.
        calls: the calls of `text`.
        sampling: the seeds, the steps and the sampler; the guidance is each call's own.
        progress: called with the name of the work, what is done, and all that is to be done.

    Returns:
        For each call its embeddings, one for each seed.
    """
    scales: dict[float, list[Call]] = {}
    for call in calls:
        scales.setdefault(call.values.get("guidance", TEXT_GUIDANCE), []).append(call)
    made: dict[Call, Embeddings] = {}
    count = len(sampling.seeds)
    for scale, same in scales.items():
        rows = engine.text(
            [call.values["words"] for call in same],
            negative=[call.values.get("negative", "") for call in same],
            progress=progress,
            **vars(replace(sampling, guidance=scale)),
        )
        made |= {call: rows[at * count : (at + 1) * count] for at, call in enumerate(same)}
    return [made[call] for call in calls]


def take_mean(stack: Stack, a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Compute (1 - weight) a + weight b.

    Normalising is affine, so this is the mean in normalised space too.

    Args:
        stack: the stack of the embeddings.
        a: rows.
        b: rows.
        weight: the weight of b.

    Returns:
        Rows (R, D).
    """
    return a.lerp(b, weight)


def mix(stack: Stack, *inputs: Tensor, weights: Sequence[float] | None = None) -> Tensor:
    """Compute the mean of any number of inputs; the weights are divided by their sum.

    Args:
        stack: the stack of the embeddings.
        inputs: the rows of each input.
        weights: a number for each input; None for equal ones.

    Returns:
        Rows (R, D).
    """
    shares = torch.tensor(weights or [1.0] * len(inputs), dtype=torch.float64)
    shares = shares / shares.max()  # so that the sum of huge ones is finite
    rows = torch.stack(torch.broadcast_tensors(*inputs))  # (inputs, R, D)
    return torch.einsum("i,ird->rd", (shares / shares.sum()).float(), rows)


def slerp(stack: Stack, a: Tensor, b: Tensor, t: float) -> Tensor:
    """Go from a to b: the direction on an arc of normalised space, its length on a line.

    At 0 and 1 it gives a and b themselves; where they point the same way or opposite ways, the
    straight line.

    Args:
        stack: the stack of the embeddings.
        a: rows.
        b: rows.
        t: how far to go, from 0 to 1.

    Returns:
        Rows (R, D).
    """
    a, b = torch.broadcast_tensors(a, b)
    if t in (0, 1):
        return (b if t else a).clone()
    x, y = _normalised(stack, a), _normalised(stack, b)
    length_x, length_y = _length(x), _length(y)
    angle = (x / length_x * y / length_y).sum(1, keepdim=True).clamp(-1, 1).acos()
    arc = ((1 - t) * angle).sin() * x / length_x + (t * angle).sin() * y / length_y
    on_arc = arc / angle.sin() * ((1 - t) * length_x + t * length_y)
    return _denormalised(stack, torch.where(angle.sin() > 1e-6, on_arc, x.lerp(y, t)))


def add(stack: Stack, a: Tensor, b: Tensor, amount: float) -> Tensor:
    """Compute a + amount b in normalised space, brought back to the length of a there.

    The length must be kept: a decoder draws embeddings that are too long as something else.

    Args:
        stack: the stack of the embeddings.
        a: rows.
        b: rows.
        amount: how much of b is added.

    Returns:
        Rows (R, D).
    """
    a, b = torch.broadcast_tensors(a, b)
    if amount == 0:
        return a.clone()
    x = _normalised(stack, a)
    made = x + amount * _normalised(stack, b)
    return _denormalised(stack, made * _length(x) / _length(made))


def direction(stack: Stack, start: Tensor, end: Tensor) -> Tensor:
    """Compute the difference end - start in normalised space.

    Args:
        stack: the stack of the embeddings.
        start: rows.
        end: rows.

    Returns:
        Rows (R, D).
    """
    return end - start + stack.clip_stats["clip_mean"]


@dataclass(frozen=True)
class Subspace:
    """The directions of CLIP space in which texts differ.

    Args:
        texts: the texts.
        rank: the number of directions; None for as many as hold `HELD` of the differences.
    """

    texts: tuple[str, ...]
    rank: int | None

    def __call__(self, stack: Stack) -> Tensor:
        """Find the directions by a singular value decomposition of the text embeddings.

        Args:
            stack: the stack that encodes the texts.

        Returns:
            Orthonormal directions (rank, D).
        """
        embeds = torch.stack([one.text_embeds for one in encode_texts(stack, self.texts)])
        differences = (embeds - embeds.mean(0)).double()
        _, sizes, directions = torch.linalg.svd(differences, full_matrices=False)
        held = sizes.square().cumsum(0) / sizes.square().sum()
        return directions[: self.rank or int((held < HELD).sum()) + 1]


def swap(
    stack: Stack, a: Tensor, b: Tensor, what: str | tuple[str, ...], rank: int | None = None
) -> Tensor:
    """Replace the part of a in the space of some texts by that of b (arXiv 2502.13951).

    Args:
        stack: the stack of the embeddings.
        a: rows.
        b: rows.
        what: the name of a word list, a file, or texts.
        rank: the number of directions; None for as many as the texts need.

    Returns:
        Rows (R, D).
    """
    texts = tuple(dict.fromkeys(read_concept(stack, what)))
    directions = stack.shared(Subspace(texts, rank))
    return a + ((b - a).double() @ directions.T @ directions).float()


def check_swap(stack: Stack, values: Mapping[str, object]) -> None:
    """Find the texts of a swap before anything is loaded.

    Args:
        stack: the stack.
        values: the arguments of the call.

    Raises:
        UsageError: there is no such word list.
        InputError: a file cannot be read.
    """
    read_concept(stack, values["what"])  # type: ignore[arg-type]


def _statistics(stack: Stack) -> tuple[Tensor, Tensor]:
    stats = stack.clip_stats
    return stats["clip_mean"].double(), stats["clip_std"].double()


def _normalised(stack: Stack, embeds: Tensor) -> Tensor:
    mean, std = _statistics(stack)
    return (embeds.double() - mean) / std


def _denormalised(stack: Stack, embeds: Tensor) -> Tensor:
    mean, std = _statistics(stack)
    return (embeds * std + mean).float()


def _length(embeds: Tensor) -> Tensor:
    return embeds.norm(dim=1, keepdim=True).clamp_min(1e-12)
