"""What an operator is trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.conditions import Conditions
from pops.prior import Prior
from pops.schedule import Schedule, add_noise

__all__ = ["Predict", "operator_losses", "prior_loss", "text_distance"]

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


def text_distance(prediction: Tensor, text_embeds: Tensor) -> Tensor:
    """Mean over N of 1 - cos(prediction, text): both (N, D), un-normalised."""
    return (1 - F.cosine_similarity(prediction, text_embeds, dim=-1)).mean()


def operator_losses(
    predict: Predict,
    denormalise: Callable[[Tensor], Tensor],
    schedule: Schedule,
    target: Tensor,
    conditions: Conditions,
    text_embeds: Tensor | None,
    noise: Tensor,
    t: Tensor,
    text_weight: float,
) -> dict[str, Tensor]:
    """The parts of the loss by name; they are summed.

    target (N, D): normalised; text_embeds (N, D): un-normalised, or None; noise (N, D); t (N,).
    """
    x_t = add_noise(target, noise, t, schedule)
    prediction = predict(x_t, t, conditions.tokens, conditions.mask).float()
    losses = {"mse": F.mse_loss(prediction, target)}
    if text_embeds is not None and text_weight:
        losses["text"] = text_weight * text_distance(denormalise(prediction), text_embeds)
    return losses
