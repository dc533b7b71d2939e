"""Functions for UNet and MoVQ: attention, pictures of twice and half the size, shared layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["attend", "double", "halve", "share_layers", "split_heads"]

MANY = 64  # pictures from which doubling the channels-last layout has failed on CUDA


def double(x: Tensor) -> Tensor:
    """Double the sides of pictures: each pixel becomes four.

    Args:
        x: Pictures (N, C, H, W).

    Returns:
        Pictures (N, C, 2 H, 2 W).
    """
    return F.interpolate(x.contiguous() if len(x) >= MANY else x, scale_factor=2.0)


def halve(x: Tensor) -> Tensor:
    """Halve the sides of pictures: four pixels become their mean.

    Args:
        x: Pictures (N, C, H, W).

    Returns:
        Pictures (N, C, H / 2, W / 2).
    """
    return F.avg_pool2d(x, 2)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Give each head of attention its channels.

    Args:
        tokens: Tokens (N, L, C).
        heads: The number of heads.

    Returns:
        Tokens (N, heads, L, C / heads).
    """
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Apply attention, and join the heads.

    Args:
        queries: Queries (N, heads, L, C / heads).
        keys: Keys (N, heads, T, C / heads).
        values: Values (N, heads, T, C / heads).

    Returns:
        Tokens (N, L, C).
    """
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)


def share_layers(owner: nn.Module, other: nn.Module) -> None:
    """Put the layers of one model into another, so that both have the same weights in memory.

    Whatever happens to a layer later, such as a move to a device, happens to it in both.

    Args:
        owner: The model that has the layers.
        other: A model that has layers of the same names, whose content is dropped.

    Raises:
        ValueError: The other has a tensor that the owner has not.
    """
    for name, layer in list(owner.named_modules()):
        if [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
            other.set_submodule(name, layer)
    extra = sorted(set(other.state_dict()) - set(owner.state_dict()))
    if extra:
        raise ValueError(f"the models differ: {', '.join(extra[:4])}")
