"""Stages `prior` and `operators`: the base prior from text, and the operators tuned from it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pops.operators import TEXTURING
from pops.pocket.build.clip import DIM, Clip
from pops.pocket.build.embeds import Embeds
from pops.pocket.build.fit import Fit, device
from pops.pocket.build.pictures import Pictures
from pops.pocket.build.recipes import Example
from pops.prior.conditions import Conditions, condition_row, drop_conditions, pack
from pops.prior.model import Prior, PriorConfig
from pops.prior.schedule import Schedule
from pops.training.loss import prior_loss

__all__ = [
    "CLIP_RANGE",
    "TexturingBatch",
    "prior_fit",
    "smooth",
    "train_base_prior",
    "train_operator",
]

# The targets (N, D) and conditions of a step, a pure function of its number.
Batch = Callable[[int], tuple[Tensor, Conditions]]

BATCH = 256
CLIP_RANGE = 5.0


def make_prior(embeds: Embeds) -> Prior:
    prior = Prior(
        PriorConfig(num_attention_heads=4, attention_head_dim=32, num_layers=4, embedding_dim=DIM)
    )
    torch.nn.init.normal_(prior.positional_embedding, std=0.02)
    torch.nn.init.normal_(prior.prd_embedding, std=0.02)
    with torch.no_grad():
        prior.clip_mean.copy_(embeds.pictures.mean(0))
        prior.clip_std.copy_(embeds.pictures.std(0))
    return prior


def prior_fit(folder: Path, embeds: Embeds, start: Prior | None = None) -> Fit:
    """A prior in training; a new one starts from the weights of another where given."""
    prior = make_prior(embeds)
    if start is not None:
        prior.load_state_dict(start.state_dict())
    return Fit(folder, prior, lr=1e-3, weight_decay=0.01)


def smooth(fit: Fit) -> Prior:
    """The averaged weights of a prior in training."""
    prior = fit.smooth
    assert isinstance(prior, Prior)
    return prior


@torch.no_grad()
def _normalise(prior: Prior, embeddings: Tensor) -> Tensor:
    """On the CPU, from which examples are drawn."""
    return prior.normalise(embeddings.to(device())).cpu()


def _timesteps(n: int) -> Tensor:
    """Uniform timesteps, spread evenly over the batch."""
    return (((torch.arange(n) + torch.rand(n)) / n) * 1000).long().to(device())


def _run(fit: Fit, seconds: float, batch: Batch) -> None:
    schedule = Schedule(clip_range=CLIP_RANGE)
    torch.manual_seed(fit.step)

    def step(number: int) -> dict[str, Tensor]:
        target, conditions = batch(number)
        where = device()
        moved = Conditions(conditions.tokens.to(where), conditions.mask.to(where))
        prior = fit.module
        assert isinstance(prior, Prior)
        return {
            "mse": prior_loss(prior, schedule, target.to(where), moved, _timesteps(len(target)))
        }

    fit.run(seconds, step)


class CaptionBatch:
    """Base prior: the text hidden states of a caption -> its picture."""

    def __init__(self, clip: Clip, data: Pictures, normalised: Tensor) -> None:
        self.clip, self.data, self.normalised = clip, data, normalised

    @torch.no_grad()
    def __call__(self, step: int) -> tuple[Tensor, Conditions]:
        rng = random.Random(f"prior/{step}")
        rows = rng.sample(range(len(self.data.records)), BATCH // 2)
        captions = [self.data.records[i]["caption"] for i in rows]
        ids = self.clip.tokenizer(captions, padding=True, return_tensors="pt").to(device())
        hidden = self.clip.text(ids.input_ids, attention_mask=ids.attention_mask).last_hidden_state
        mask = ids.attention_mask.bool()
        keep = torch.rand(len(rows), 1, 1, device=hidden.device) >= 0.1
        return self.normalised[rows], Conditions(hidden * mask[..., None] * keep, mask)


class TexturingBatch:
    """(an object in a place, a texture) -> the same picture with the object made of the texture.

    The published recipe: the object's picture differs from the target in its material, or is the
    target itself 0.2 of the time; the exemplar is a patch of the target or a flat swatch; each
    input is dropped alone with the operator's chance.
    """

    operator = TEXTURING
    SELF = 0.2

    def __init__(self, records: list[dict[str, Any]], embeds: Embeds, prior: Prior) -> None:
        self.pictures = _normalise(prior, embeds.pictures)
        self.patches = _normalise(prior, embeds.patches)
        self.swatches: dict[str, list[int]] = {}
        groups: dict[tuple[str, str], list[int]] = {}
        for i, record in enumerate(records):
            if record["kind"] == "swatch":
                self.swatches.setdefault(record["things"][0][1], []).append(i)
            if record["kind"] == "single":
                groups.setdefault((record["group"], record["background"]), []).append(i)
        self.groups = [tuple(g) for g in groups.values() if len(g) > 1]
        self.records = records
        self.texts: dict[str, Tensor] = {}

    def example(self, rng: random.Random) -> Example:
        target, other = rng.sample(rng.choice(self.groups), 2)
        record = self.records[target]
        if record["patch"] and rng.random() < 0.5:
            texture = self.patches[target]
        else:
            texture = self.pictures[rng.choice(self.swatches[record["things"][0][1]])]
        seen = target if rng.random() < self.SELF else other
        return Example(target, (self.pictures[seen], texture))

    def __call__(self, step: int) -> tuple[Tensor, Conditions]:
        rng = random.Random(f"texturing/{step}")
        examples = [self.example(rng) for _ in range(BATCH)]
        packed = pack([condition_row(e.slots, DIM) for e in examples])
        drawn = torch.Generator().manual_seed(step)
        tokens = drop_conditions(packed.tokens, each=self.operator.drop_each, generator=drawn)
        return self.pictures[[e.target for e in examples]], Conditions(tokens, packed.mask)


def train_base_prior(
    folder: Path, clip: Clip, data: Pictures, embeds: Embeds, seconds: float
) -> None:
    torch.manual_seed(0)
    fit = prior_fit(folder, embeds)
    prior = fit.module
    assert isinstance(prior, Prior)
    _run(fit, seconds, CaptionBatch(clip, data, _normalise(prior, embeds.pictures)))


def train_operator(
    folder: Path, start: Prior, embeds: Embeds, recipe: Callable[[Prior], Batch], seconds: float
) -> None:
    """Tune a prior on a recipe, which is given the prior for its normalised space."""
    torch.manual_seed(0)
    fit = prior_fit(folder, embeds, start)
    prior = fit.module
    assert isinstance(prior, Prior)
    _run(fit, seconds, recipe(prior))
