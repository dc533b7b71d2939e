"""How good an operator is on records that it is not trained on: numbers, and a figure to look at.

Nothing is dropped, and noise and seeds are the same every time, so that numbers of different steps
can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pops.data.recipes import Example
from pops.data.batches import Batch
from pops.engine import Engine
from pops.figures import Cell, strips
from pops.io.embeddings import Embeddings
from pops.operators import Operator
from pops.prior.conditions import Conditions
from pops.prior.model import Prior
from pops.prior.schedule import Schedule, add_noise

__all__ = ["Found", "band_losses", "draw_figure", "evaluating", "retrieve", "validate"]

BANDS = 5  # of timesteps
ROWS = 64  # at a time
SEED = 18
GUIDANCES = (1.0, 4.0)  # of the figure


@contextmanager
def evaluating(prior: Prior) -> Iterator[Prior]:
    """The prior without dropout inside the block."""
    before = prior.training
    try:
        yield prior.eval()
    finally:
        prior.train(before)


@torch.no_grad()
def band_losses(prior: Prior, schedule: Schedule, held_out: Batch) -> dict[str, float]:
    """The mean squared error in each of some equal bands of timesteps, the last the noisiest."""
    width = schedule.train_timesteps // BANDS
    generator = torch.Generator().manual_seed(SEED)
    losses = {}
    for band in range(BANDS):
        first = band * width
        t = torch.randint(first, first + width, (len(held_out.target),), generator=generator)
        noise = torch.randn(held_out.target.shape, generator=generator)
        x_t = add_noise(held_out.target, noise, t, schedule)
        errors = [
            (_predict(prior, x_t[at], t[at], held_out.conditions.rows(at)) - held_out.target[at])
            for at in torch.arange(len(t)).split(ROWS)
        ]
        losses[f"loss_t{first}-{first + width - 1}"] = float(torch.cat(errors).square().mean())
    return losses


def _predict(prior: Prior, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
    place = prior.clip_mean.device
    tokens, mask = conditions.tokens.to(place), conditions.mask.to(place)
    made: Tensor = prior(x_t.to(place), t.to(place), tokens, mask)
    return made.float().cpu()


@dataclass(frozen=True)
class Found:
    """How near embeddings are to their targets, all un-normalised."""

    cosine: float  # to the own target, mean
    top1: float  # share whose nearest target is the own one
    mean_rank: float  # of the own target among all; 1 is best

    def named(self, prefix: str) -> dict[str, float]:
        """By name, for the log."""
        return {
            f"{prefix}cosine": self.cosine,
            f"{prefix}top1": self.top1,
            f"{prefix}mean_rank": self.mean_rank,
        }


def retrieve(made: Tensor, targets: Tensor) -> Found:
    """Rows (N, D) against their targets (N, D), by cosine."""
    likeness = F.normalize(made, dim=1) @ F.normalize(targets, dim=1).T
    own = likeness.diagonal()
    rank = 1 + (likeness > own[:, None]).sum(1)
    return Found(float(own.mean()), float((rank == 1).float().mean()), float(rank.float().mean()))


def validate(engine: Engine, operator: Operator, prior: Prior, held_out: Batch) -> dict[str, float]:
    """Loss per band of timesteps; how near samples at guidance 1 are to their targets, beside the
    mean of the inputs; where there is a text, how near they are to it."""
    with evaluating(prior):
        numbers = band_losses(prior, engine.stack.schedule, held_out)
        made = _sample(engine, prior, held_out.conditions, 1.0)
    targets = _denormalised(prior, held_out.target)
    mean = _denormalised(prior, mean_of_inputs(operator, held_out.conditions))
    numbers |= retrieve(made, targets).named("") | retrieve(mean, targets).named("mean_")
    if held_out.text_embeds is not None:
        for name, rows in (("", made), ("mean_", mean)):
            alike = F.cosine_similarity(rows, held_out.text_embeds)
            numbers[f"{name}text_cosine"] = float(alike.mean())
    return numbers


def mean_of_inputs(operator: Operator, conditions: Conditions) -> Tensor:
    """(N, D) normalised: the mean of the pictures that are given, without the text."""
    slots = conditions.tokens[:, : len(operator.inputs)]
    given = slots.abs().sum(-1, keepdim=True) > 0
    return slots.sum(1) / given.sum(1).clamp(min=1)


def draw_figure(
    engine: Engine,
    operator: Operator,
    prior: Prior,
    examples: Sequence[Example],
    held_out: Batch,
) -> Image.Image:
    """A strip for each example: inputs, target, the target rendered from its embedding, the mean of
    the inputs, and samples at guidance 1 and 4. `held_out`: the same examples, encoded."""
    with evaluating(prior):
        samples = [_sample(engine, prior, held_out.conditions, scale) for scale in GUIDANCES]
    targets = _denormalised(prior, held_out.target)
    mean = _denormalised(prior, mean_of_inputs(operator, held_out.conditions))
    shown = [_render(engine, rows) for rows in (targets, mean, *samples)]
    names = ("target, rendered", "mean of inputs", *(f"guidance {g:g}" for g in GUIDANCES))
    rows = []
    for example, made in zip(examples, zip(*shown, strict=True), strict=True):
        row = [
            Cell("left out" if picture is None else picture, slot, sign="plus")
            for slot, picture in zip(operator.inputs, example.inputs, strict=True)
            if picture is not None or len(operator.inputs) < 4  # of many slots, the given ones
        ]
        if example.text is not None:
            row.append(Cell(example.text, "text", sign="plus"))
        row = [Cell(row[0].image, row[0].caption), *row[1:]]
        row.append(Cell(example.target, "target", example.target_text or "", sign="arrow"))
        rows.append(row + [Cell(image, name) for image, name in zip(made, names, strict=True)])
    return strips(rows, size=128)


def _sample(engine: Engine, prior: Prior, conditions: Conditions, guidance: float) -> Tensor:
    """One sample (N, D), un-normalised, of every row."""
    lengths = conditions.mask.sum(1).tolist()
    rows = [tokens[:length] for tokens, length in zip(conditions.tokens, lengths, strict=True)]
    seeds = [[SEED + at] for at in range(len(rows))]
    return engine.sample(prior, rows, seeds, guidance)


def _render(engine: Engine, embeds: Tensor) -> list[Image.Image]:
    return engine.render(Embeddings(embeds, engine.stack.name), seeds=(0,))


@torch.no_grad()
def _denormalised(prior: Prior, embeds: Tensor) -> Tensor:
    return prior.denormalise(embeds.to(prior.clip_mean.device)).cpu()
