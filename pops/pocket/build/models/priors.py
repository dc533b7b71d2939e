"""Stage `prior`: the base prior, from the text of a caption to the embedding of its picture.

The operators start from it: `pops train` tunes it.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pops.pocket.build.fit import Fit, device
from pops.prior.conditions import Prompt, pack_prompts
from pops.prior.model import Prior, PriorConfig
from pops.prior.schedule import Schedule
from pops.stacks.clip import TextEncoder
from pops.training.step.loss import prior_loss

__all__ = ["CLIP_RANGE", "prior_fit", "train_base_prior"]

BATCH = 128
CLIP_RANGE = 5.0  # predictions are limited to this many deviations
DROP = 0.1  # share of captions that are replaced by the empty text, which guidance starts from


def make_prior(embeds: Tensor) -> Prior:
    """Make an untrained prior for embeddings (N, D), whose mean and deviation it keeps."""
    prior = Prior(
        PriorConfig(
            num_attention_heads=6,
            attention_head_dim=32,
            num_layers=3,
            embedding_dim=embeds.shape[1],
        )
    )
    torch.nn.init.normal_(prior.positional_embedding, std=0.02)
    torch.nn.init.normal_(prior.prd_embedding, std=0.02)
    with torch.no_grad():
        prior.clip_mean.copy_(embeds.mean(0))
        prior.clip_std.copy_(embeds.std(0))
    return prior


def prior_fit(folder: Path, embeds: Tensor) -> Fit:
    """Open the training of the base prior.

    Args:
        folder: the folder of its state.
        embeds: (N, D), embeddings, whose mean and deviation a new prior takes.

    Returns:
        The training, as it stands.
    """
    return Fit(folder, make_prior(embeds), lr=1e-3, weight_decay=0.01)


def _timesteps(n: int) -> Tensor:
    """Draw uniform timesteps (n,) that are spread evenly over the batch."""
    return (((torch.arange(n) + torch.rand(n)) / n) * 1000).long().to(device())


def train_base_prior(
    folder: Path, encoder: TextEncoder, captions: Sequence[str], embeds: Tensor, seconds: float
) -> None:
    """Train the base prior for some time.

    Args:
        folder: the folder of its state.
        encoder: the text encoder of the stack.
        captions: N captions.
        embeds: (N, D), the embeddings of their pictures.
        seconds: the time.
    """
    torch.manual_seed(0)
    fit = prior_fit(folder, embeds)
    prior = fit.module
    assert isinstance(prior, Prior)
    schedule = Schedule(clip_range=CLIP_RANGE)
    torch.manual_seed(fit.step)

    def step(number: int) -> dict[str, Tensor]:
        rng = random.Random(f"prior/{number}")
        rows = rng.sample(range(len(captions)), min(BATCH, len(captions)))
        told = ["" if rng.random() < DROP else captions[row] for row in rows]
        said = encoder.encode(told)
        where = device()
        prompts = [Prompt(one.hidden_states.to(where), one.text_embeds.to(where)) for one in said]
        target = prior.normalise(embeds[rows].to(where))
        conditions = pack_prompts(prompts)
        return {"mse": prior_loss(prior, schedule, target, conditions, _timesteps(len(rows)))}

    fit.run(seconds, step)
