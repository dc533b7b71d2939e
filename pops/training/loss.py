"""What an operator is trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.prior.conditions import Conditions
from pops.prior.model import Prior
from pops.prior.schedule import Schedule, add_noise

__all__ = ["Predict", "operator_losses", "prior_loss"]

# (x_t (N, D), t (N,), tokens (N, K, D), mask (N, K)) -> x_0 (N, D), all normalised
Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def prior_loss(
    prior: Prior, schedule: Schedule, target: Tensor, conditions: Conditions, t: Tensor
) -> Tensor:
    """Mean squared error of the predicted clean embedding, in normalised space.

    target (N, D): normalised embeddings of the target pictures; t (N,): timesteps.
    """
    x_t = add_noise(target, torch.randn_like(target), t, schedule)
    return F.mse_loss(prior(x_t, t, conditions.tokens, conditions.mask), target)


def operator_losses(
    predict: Predict,
    denormalise: Callable[[Tensor], Tensor],
    schedule: Schedule,
    target: Tensor,
    conditions: Conditions,
    text_embeds: Tensor | None,
    noise: Tensor,
    t: Tensor,
    text_weight: Tensor,
) -> dict[str, Tensor]:
    """The parts of the loss by name; they are summed.

    target (N, D): normalised; text_embeds (N, D): un-normalised, zero where a row is drawn to no
    text, or None where none is; noise (N, D); t (N,); text_weight (N,) or (): of
    1 - cos(prediction, text), both un-normalised, beside the squared error.
    """
    x_t = add_noise(target, noise, t, schedule)
    prediction = predict(x_t, t, conditions.tokens, conditions.mask).float()
    losses = {"mse": F.mse_loss(prediction, target)}
    if text_embeds is not None:
        alike = F.cosine_similarity(denormalise(prediction), text_embeds, dim=-1)
        losses["text"] = (text_weight * text_embeds.any(-1) * (1 - alike)).mean()
    return losses
