"""What an operator is trained on."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.conditions import Conditions
from pops.prior import Prior
from pops.schedule import Schedule, add_noise

__all__ = ["prior_loss"]


def prior_loss(
    prior: Prior, schedule: Schedule, target: Tensor, conditions: Conditions, t: Tensor
) -> Tensor:
    """Mean squared error of the predicted clean embedding, in normalised space.

    target (N, D): normalised embeddings of the target pictures; t (N,): timesteps.
    """
    x_t = add_noise(target, torch.randn_like(target), t, schedule)
    return F.mse_loss(prior(x_t, t, conditions.tokens, conditions.mask), target)
