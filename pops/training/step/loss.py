"""The losses that operators are trained on."""

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
    """Compute the mean squared error of the predicted clean embedding, in normalised space.

    Args:
        prior: The prior.
        schedule: The noise schedule.
        target: (N, D) normalised embeddings of the target pictures.
        conditions: Condition tokens (N, K, D) and their mask.
        t: (N,) timesteps.

    Returns:
        The loss, a scalar.
    """
    x_t = add_noise(target, torch.randn_like(target), t, schedule)
    given = conditions.tokens, conditions.mask
    return F.mse_loss(prior(x_t, t, *given, pooled=conditions.pooled), target)


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
    """Compute the parts of the loss, which are summed.

    `mse` is the squared error of the predicted clean embedding; `text` is text_weight times
    1 - cos(prediction, target text), both un-normalised.

    Args:
        predict: The model.
        denormalise: From normalised embeddings (N, D) to un-normalised ones.
        schedule: The noise schedule.
        target: (N, D) normalised embeddings of the target pictures.
        conditions: Condition tokens (N, K, D) and their mask.
        text_embeds: (N, D) un-normalised embeddings of the target texts, zero where a row has
            none; None where no row has any.
        noise: (N, D).
        t: (N,) timesteps.
        text_weight: (N,) or ().

    Returns:
        The losses by name, scalars.
    """
    x_t = add_noise(target, noise, t, schedule)
    prediction = predict(x_t, t, conditions.tokens, conditions.mask).float()
    losses = {"mse": F.mse_loss(prediction, target)}
    if text_embeds is not None:
        alike = F.cosine_similarity(denormalise(prediction), text_embeds, dim=-1)
        losses["text"] = (text_weight * text_embeds.any(-1) * (1 - alike)).mean()
    return losses
