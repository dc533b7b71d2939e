"""Random weights, for models whose size matters and whose content does not."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

__all__ = ["random_model"]

Model = TypeVar("Model", bound=nn.Module)


def random_model(model: Model, device: torch.device, dtype: torch.dtype) -> Model:
    """Fill a model at random, so that its activations stay in range, and freeze it.

    Args:
        model: A model made on the meta device.
        device: The device of its weights.
        dtype: Their number format.

    Returns:
        The model.
    """
    model = model.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    for name, tensor in model.named_parameters():
        is_norm = "norm" in name and name.endswith("weight")
        if is_norm or name.startswith("clip_"):
            tensor.fill_(float(name != "clip_mean"))
        else:  # as torch initialises linear layers
            inputs = tensor[0].numel() if tensor.ndim > 1 else len(tensor)
            tensor.uniform_(-1, 1).mul_(max(1, inputs) ** -0.5)
    return model
