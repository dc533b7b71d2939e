"""The prior's transformer blocks, and the cache of what their moving tokens attend to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pops.prior.linear import Linear, linear

__all__ = ["MOVING", "Block", "ConditionCache", "TimeEmbedding"]

MOVING = 3  # time, noisy, output
MANY_ROWS = 128  # with this many, a GPU computes longer than it reads weights: then sharing pays

Joined = tuple[Tensor, Tensor]  # weight (3 width, width) and bias (3 width,) of Q, K and V


@dataclass(frozen=True)
class ConditionCache:
    """The keys and values that the moving tokens attend to: computed once, used at every step.

    The last three places of `kv` are scratch, written by each `denoise`; a cache belongs to one
    sampling loop at a time. Its N rows may be samples of R < N requests that share time tokens.
    """

    kv: Tensor  # (layers, 2, N, heads, K + 4, head dim): keys, then values
    bias: Tensor  # (N, 1, 3, at least K + 4): 0 where a moving token may look, else -inf
    joined: tuple[Joined | None, ...]  # of each layer, where its three weights lie side by side
    request: Tensor | None = None  # (N,): which of the R requests a row is of; None: each its own
    example: Tensor | None = None  # (R,): a row of every request

    @property
    def visible(self) -> Tensor:
        """The bias (N, 1, 3, K + 4). Its rows begin at multiples of 16, as GPUs like it."""
        return self.bias[..., : self.kv.shape[-2]]

    def rows(self, index: Tensor) -> ConditionCache:
        """Pick rows, which may be repeated, in any order.

        Args:
            index: The numbers (M,) of the rows, on the CPU.

        Returns:
            A cache of M rows. Those that repeat a row share its time token where that pays.
        """
        device = self.kv.device
        origin = torch.arange(len(self.bias)) if self.request is None else self.request.cpu()
        kept, request = torch.unique(origin[index], return_inverse=True)
        example = torch.empty_like(kept)
        example[request] = torch.arange(len(index))
        shared = len(kept) < len(index) and (device.type == "cpu" or len(index) >= MANY_ROWS)
        index = index.to(device)
        return ConditionCache(
            self.kv.index_select(2, index),
            self.bias.index_select(0, index),
            self.joined,
            request.to(device) if shared else None,
            example.to(device) if shared else None,
        )

    def spread(self, tokens: Tensor) -> Tensor:
        """Give the moving tokens (N, 3, width) of all rows from their distinct ones.

        Args:
            tokens: What `gather` gives.

        Returns:
            Tokens (N, 3, width), the time token of each row first.
        """
        if self.request is None or self.example is None:
            return tokens
        time, others = tokens.tensor_split([len(self.example)])
        others = others.view(len(self.request), MOVING - 1, -1)
        return torch.cat([time[self.request, None], others], dim=1)

    def gather(self, tokens: Tensor) -> Tensor:
        """Give every distinct one of the moving tokens once.

        Args:
            tokens: Tokens (N, 3, width).

        Returns:
            The same tokens; where requests share time tokens, (R + 2N, width), those first.
        """
        if self.example is None:
            return tokens
        return torch.cat([tokens[self.example, 0], tokens[:, 1:].flatten(0, 1)])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(width, width)
        self.to_k = Linear(width, width)
        self.to_v = Linear(width, width)
        self.to_out = nn.ModuleList([Linear(width, width), nn.Dropout(dropout)])

    @property
    def projections(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.to_q, self.to_k, self.to_v

    def split(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        x = x.view(n, length, self.heads, width // self.heads)
        return x.transpose(1, 2)  # (N, heads, S, head dim)

    def split_qkv(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split x (N, S, 3 width): Q (N, heads, S, head dim), KV (2, N, heads, S, head dim)."""
        n, length, width = x.shape
        x = x.view(n, length, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        return x[0], x[1:]

    def project(self, x: Tensor, joined: Joined | None) -> Tensor:
        """Compute Q, K and V beside each other: (..., 3 width)."""
        if joined is None:
            return torch.cat([layer(x) for layer in self.projections], dim=-1)
        return linear(x, *joined)

    def join(self) -> None:
        """Lay the weights of Q, K and V side by side in memory, each still under its own name."""
        for name in ("weight", "bias"):
            whole = torch.cat([getattr(layer, name).detach() for layer in self.projections])
            for layer, part in zip(self.projections, whole.chunk(3), strict=True):
                setattr(layer, name, nn.Parameter(part, requires_grad=False))

    def joined(self) -> Joined | None:
        """Join the three weights and biases into one of each, where they lie side by side."""
        if any(type(layer) is not Linear for layer in self.projections):  # an adapter's
            return None
        weight = _side_by_side([layer.weight for layer in self.projections])  # type: ignore[misc]
        bias = _side_by_side([layer.bias for layer in self.projections])  # type: ignore[misc]
        return None if weight is None or bias is None else (weight, bias)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None)
        return x.transpose(1, 2).flatten(2)  # (N, S, width)

    def out(self, x: Tensor) -> Tensor:
        for module in self.to_out:
            x = module(x)
        return x


def _side_by_side(parts: Sequence[Tensor]) -> Tensor | None:
    """View equally large tensors as one, if each begins in memory where the one before ends."""
    first = parts[0]
    storage, start, step = first.untyped_storage(), first.storage_offset(), first.numel()
    for number, part in enumerate(parts):
        beside = part.storage_offset() == start + number * step
        if not beside or part.untyped_storage()._cdata != storage._cdata:
            return None
    shape = (len(parts) * len(first), *first.shape[1:])
    return first.detach().as_strided(shape, first.stride(), start)


class Gelu(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        inner = 4 * width
        self.net = nn.Sequential(Gelu(width, inner), nn.Dropout(dropout), Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class Block(nn.Module):
    """One transformer block: attention, then a feed-forward layer, each added to its input.

    Args:
        width: The numbers of a token.
        heads: The attention heads.
        dropout: The share of numbers that training sets to zero.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, heads, dropout)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, dropout)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Compute the block over whole sequences, with gradients.

        Args:
            x: Tokens (N, S, width).
            bias: What is added to the attention's scores (N, 1, S, S); None: causal attention.

        Returns:
            Tokens (N, S, width).
        """
        attn, normed = self.attn1, self.norm1(x)
        q, k, v = (attn.split(layer(normed)) for layer in attn.projections)
        return self.mix(x, attn.attend(q, k, v, bias))

    def prefill(self, x: Tensor, kv: Tensor, bias: Tensor, joined: Joined | None) -> Tensor:
        """Compute the block over the tokens that come first, and store their keys and values.

        Args:
            x: Tokens (N, S, width).
            kv: Where keys and values (2, N, heads, S, head dim) are written.
            bias: What is added to the attention's scores (N, 1, S, S).
            joined: The projections as one, where they lie side by side.

        Returns:
            Tokens (N, S, width).
        """
        attn = self.attn1
        q, own = attn.split_qkv(attn.project(self.norm1(x), joined))
        kv.copy_(own)
        return self.mix(x, attn.attend(q, own[0], own[1], bias))

    def advance(
        self, x: Tensor, kv: Tensor, cache: ConditionCache, joined: Joined | None
    ) -> Tensor:
        """Compute the block over the moving tokens, given the keys of all tokens before them.

        Args:
            x: Gathered moving tokens.
            kv: Keys and values (2, N, heads, K + 4, head dim), whose last three places are written.
            cache: The conditions of the rows.
            joined: The projections as one, where they lie side by side.

        Returns:
            Gathered moving tokens.
        """
        return self.mix(x, cache.gather(self._attend_moving(x, kv, cache, joined, MOVING)))

    def finish(self, x: Tensor, kv: Tensor, cache: ConditionCache, joined: Joined | None) -> Tensor:
        """Compute the block for the output tokens alone, as the last block needs it.

        Args:
            x: Gathered moving tokens.
            kv: Keys and values (2, N, heads, K + 4, head dim), whose last three places are written.
            cache: The conditions of the rows.
            joined: The projections as one, where they lie side by side.

        Returns:
            Output tokens (N, width).
        """
        attended = self._attend_moving(x, kv, cache, joined, 1)
        return self.mix(cache.spread(x)[:, -1], attended[:, 0])

    def _attend_moving(
        self, x: Tensor, kv: Tensor, cache: ConditionCache, joined: Joined | None, last: int
    ) -> Tensor:
        """Compute the attention (N, last, width) of the last moving tokens of every row."""
        attn = self.attn1
        q, own = attn.split_qkv(cache.spread(attn.project(self.norm1(x), joined)))
        kv[..., -MOVING:, :] = own
        return attn.attend(q[:, :, -last:], kv[0], kv[1], cache.visible[:, :, -last:])

    def mix(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the attended values and the feed-forward network to every token.

        Args:
            x: Tokens before the block.
            attended: Values that each token attended to.

        Returns:
            Tokens after the block.
        """
        x = x + self.attn1.out(attended)
        return x + self.ff(self.norm3(x))


class TimeEmbedding(nn.Module):
    """Two layers that turn the cosines and sines of a timestep into a token.

    Args:
        width: The number of cosines and sines.
        inner: The numbers between the layers.
        out: The numbers of the token; None: as many as `width`.
    """

    def __init__(self, width: int, inner: int, out: int | None = None) -> None:
        super().__init__()
        self.linear_1 = Linear(width, inner)
        self.linear_2 = Linear(inner, out or width)

    def forward(self, t: Tensor) -> Tensor:
        """Put the cosines and sines of timesteps through two layers.

        Args:
            t: Timesteps (N,).

        Returns:
            Time tokens (N, out).
        """
        half = self.linear_1.in_features // 2
        # Not a buffer: in half precision it would lose the timestep.
        exponents = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t.float()[:, None] * torch.exp(exponents / half)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return out
