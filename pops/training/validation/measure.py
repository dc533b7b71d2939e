"""Validation: numbers and a figure of how good an operator is on records held out of training.

Nothing is dropped, and noise and seeds are the same every time, so that numbers of different steps
can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pops.data.recipes import Example
from pops.data.sources.batches import Batch
from pops.engine import Engine
from pops.figures import Cell, strips
from pops.io.embeddings import Embeddings
from pops.operators import Operator
from pops.prior.batching import sample_prompts
from pops.prior.conditions import Conditions, Prompt
from pops.prior.model import Prior
from pops.prior.sampling import find_sampler
from pops.prior.schedule import Schedule, add_noise
from pops.settings.sampling import SamplingSettings
from pops.stacks.encoding import make_prompts
from pops.training.validation.retrieval import Retrieval, measure_retrieval

__all__ = ["band_losses", "draw_figure", "evaluating", "mean_of_inputs", "validate"]

BANDS = 5  # of timesteps
ROWS = 64  # at a time
SEED = 18
GUIDANCES = (1.0, 4.0)  # of the figure
BASELINE = "baseline_"  # begins the names of the numbers of the mean of the inputs


@contextmanager
def evaluating(prior: Prior) -> Iterator[Prior]:
    """Switch a prior to evaluation, without dropout, inside the block.

    Args:
        prior: The prior.

    Yields:
        The same prior.
    """
    before = prior.training
    try:
        yield prior.eval()
    finally:
        prior.train(before)


@torch.no_grad()
def band_losses(prior: Prior, schedule: Schedule, held_out: Batch) -> dict[str, float]:
    """Measure the mean squared error in equal bands of timesteps; the last is the noisiest.

    Args:
        prior: The prior.
        schedule: The noise schedule.
        held_out: Encoded records.

    Returns:
        The error of every band by its name, such as `loss_t0-199`.
    """
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
    device = prior.clip_mean.device
    tokens, mask = conditions.tokens.to(device), conditions.mask.to(device)
    pooled = None if conditions.pooled is None else conditions.pooled.to(device)
    made: Tensor = prior(x_t.to(device), t.to(device), tokens, mask, pooled=pooled)
    return made.float().cpu()


def validate(engine: Engine, operator: Operator, prior: Prior, held_out: Batch) -> dict[str, float]:
    """Measure an operator on held-out records.

    Args:
        engine: The engine that samples.
        operator: The operator's row.
        prior: The trained prior.
        held_out: Encoded records.

    Returns:
        The loss in each band of timesteps; the retrieval of samples at guidance 1 among all
        targets, and, as `baseline_...`, that of the mean of the inputs; for an operator with target
        texts, `text_cosine` and `baseline_text_cosine`.
    """
    with evaluating(prior):
        numbers = band_losses(prior, engine.stack.schedule, held_out)
        made = _sample(engine, prior, held_out.conditions, 1.0)
    targets = _denormalised(prior, held_out.target)
    mean = _denormalised(prior, mean_of_inputs(operator, held_out.conditions))
    numbers |= _named("", measure_retrieval(made, targets))
    numbers |= _named(BASELINE, measure_retrieval(mean, targets))
    if held_out.text_embeds is not None:
        for name, rows in (("", made), (BASELINE, mean)):
            alike = F.cosine_similarity(rows, held_out.text_embeds)
            numbers[f"{name}text_cosine"] = float(alike.mean())
    return numbers


def _named(prefix: str, found: Retrieval) -> dict[str, float]:
    return {f"{prefix}{name}": getattr(found, name) for name in ("cosine", "top1", "mean_rank")}


def mean_of_inputs(operator: Operator, conditions: Conditions) -> Tensor:
    """Average the pictures that are given to an operator, without its text.

    Args:
        operator: The operator's row.
        conditions: Condition tokens (N, K, D), normalised, and their mask.

    Returns:
        (N, D) normalised.
    """
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
    """Draw a strip of pictures for each example.

    A strip shows the inputs, the target, the target rendered from its own embedding, which is the
    best that the decoder can show, the mean of the inputs, and samples at guidance 1 and 4.

    Args:
        engine: The engine that samples and renders.
        operator: The operator's row.
        prior: The trained prior.
        examples: The examples, with their pictures.
        held_out: The same examples, encoded.

    Returns:
        The strips below each other.
    """
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
            if picture is not None or len(operator.inputs) < 4  # shows no empty slots of many
        ]
        if example.text is not None:
            row.append(Cell(example.text, "text", sign="plus"))
        row = [Cell(row[0].image, row[0].caption), *row[1:]]
        row.append(Cell(example.target, "target", example.target_text or "", sign="arrow"))
        rows.append(row + [Cell(image, name) for image, name in zip(made, names, strict=True)])
    return strips(rows, size=128)


def _sample(engine: Engine, prior: Prior, conditions: Conditions, guidance: float) -> Tensor:
    """Sample one un-normalised embedding (N, D) for every row."""
    lengths = conditions.mask.sum(1).tolist()
    rows = [tokens[:length] for tokens, length in zip(conditions.tokens, lengths, strict=True)]
    seeds = [[SEED + at] for at in range(len(rows))]
    if conditions.pooled is None:
        return engine.sample(prior, rows, seeds, guidance)
    ((away, _),) = make_prompts(engine.stack, [""], [""])  # guidance leads away from it
    prompts = [(Prompt(*one), away) for one in zip(rows, conditions.pooled, strict=True)]
    stack, steps = engine.stack, SamplingSettings.steps
    chosen = find_sampler(SamplingSettings.sampler)
    with stack.placement.using(prior):
        return sample_prompts(prior, prompts, seeds, guidance, stack.schedule, steps, chosen)


def _render(engine: Engine, embeds: Tensor) -> list[Image.Image]:
    return engine.render(Embeddings(embeds, engine.stack.name), seeds=(0,))


@torch.no_grad()
def _denormalised(prior: Prior, embeds: Tensor) -> Tensor:
    return prior.denormalise(embeds.to(prior.clip_mean.device)).cpu()
