"""The prior: a small causal transformer that predicts a clean embedding from a noisy one.

Weights and config are key for key those of diffusers' `PriorTransformer`. What differs is what is
computed. The sequence is `conditions | pooled text | time | noisy | output`; attention is causal
and unused slots are masked, so

- unused slots need not exist: condition tokens are packed, and keep their slots' positions;
- conditions and pooled text never see time or noise: `condition` computes their keys and values
  once, and `denoise` computes the three moving tokens against them at every step;
- the time token never sees noise either: samples of one request share it, and so do all
  unconditional ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pops.errors import WeightsError
from pops.io.schema import Meta, Share, fit, read_json
from pops.prior.linear import Linear, linear

__all__ = ["ConditionCache", "Prior", "PriorConfig", "read_prior_config"]

Size = Annotated[int, Meta(ge=1, le=2**16)]
MOVING = 3  # time, noisy, output
ALIGNED = 16  # elements to which rows of an attention bias are aligned
MANY_ROWS = 128  # from so many on a GPU computes longer than it reads weights: then sharing pays
FIXED_CHOICES = {
    "time_embed_act_fn": "silu",
    "norm_in_type": None,
    "embedding_proj_norm_type": None,
    "encoder_hid_proj_type": "linear",
    "added_emb_type": "prd",
    "additional_embeddings": 4,
}


@dataclass(frozen=True)
class PriorConfig:
    """The fields of diffusers' PriorTransformer config that vary; the others are checked."""

    num_attention_heads: Annotated[int, Meta(ge=1, le=256)] = 32
    attention_head_dim: Annotated[int, Meta(ge=1, le=1024)] = 64
    num_layers: Annotated[int, Meta(ge=1, le=256)] = 20
    embedding_dim: Size = 1280
    num_embeddings: Annotated[int, Meta(ge=1, le=4096)] = 77  # condition slots
    dropout: Share = 0.0
    time_embed_dim: Size | None = None  # None: the width
    embedding_proj_dim: Size | None = None  # None: embedding_dim
    clip_embed_dim: Size | None = None  # None: embedding_dim

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], source: str = "prior config") -> PriorConfig:
        """From the fields of a config.json; WeightsError for a variant this prior is not."""
        own = {f.name for f in fields(cls)}
        for key, value in config.items():
            if key in FIXED_CHOICES and value != FIXED_CHOICES[key]:
                raise WeightsError(
                    f"{source}: {key} is {value!r}, but only {FIXED_CHOICES[key]!r} is supported"
                )
            if key not in own and key not in FIXED_CHOICES and not key.startswith("_"):
                raise WeightsError(f"{source}: unknown field {key!r}")
        return fit({k: v for k, v in config.items() if k in own}, cls, WeightsError, source)

    def to_dict(self) -> dict[str, Any]:
        """The config.json that diffusers' PriorTransformer reads."""
        return {"_class_name": "PriorTransformer", **asdict(self), **FIXED_CHOICES}


def read_prior_config(folder: Path) -> PriorConfig:
    """The config of a stack's `prior` folder; WeightsError if it cannot be read."""
    path = folder / "config.json"
    return PriorConfig.from_dict(read_json(path, dict[str, Any], WeightsError), str(path))


Joined = tuple[Tensor, Tensor]  # weight (3 width, width) and bias (3 width,) of Q, K and V


@dataclass(frozen=True)
class ConditionCache:
    """What the moving tokens attend to: computed once per request, used at every step.

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
        """Moving tokens of all rows (N, 3, width), from what `gather` gives."""
        if self.request is None or self.example is None:
            return tokens
        time, others = tokens.tensor_split([len(self.example)])
        others = others.view(len(self.request), MOVING - 1, -1)
        return torch.cat([time[self.request, None], others], dim=1)

    def gather(self, tokens: Tensor) -> Tensor:
        """Every distinct one of the moving tokens (N, 3, width): (R + 2N, width) where shared."""
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
        """Q (N, heads, S, head dim) and KV (2, N, heads, S, head dim) of x (N, S, 3 width)."""
        n, length, width = x.shape
        x = x.view(n, length, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        return x[0], x[1:]

    def project(self, x: Tensor, joined: Joined | None) -> Tensor:
        """Q, K and V beside each other: (..., 3 width)."""
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
        """The three weights and biases as one of each, where they lie side by side."""
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
    """Some equally large tensors as one, where each begins in memory where the last one ends."""
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
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, heads, dropout)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, dropout)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Compute the block over whole sequences (N, S, width), with gradients."""
        attn, normed = self.attn1, self.norm1(x)
        q, k, v = (attn.split(layer(normed)) for layer in attn.projections)
        return self.mix(x, attn.attend(q, k, v, bias))

    def prefill(self, x: Tensor, kv: Tensor, bias: Tensor, joined: Joined | None) -> Tensor:
        """Compute the block over the tokens (N, S, width) that come first, and fill their `kv`."""
        attn = self.attn1
        q, own = attn.split_qkv(attn.project(self.norm1(x), joined))
        kv.copy_(own)
        return self.mix(x, attn.attend(q, own[0], own[1], bias))

    def advance(
        self, x: Tensor, kv: Tensor, cache: ConditionCache, joined: Joined | None
    ) -> Tensor:
        """Compute the block over the gathered moving tokens, given all keys that came before."""
        return self.mix(x, cache.gather(self._attend_moving(x, kv, cache, joined, MOVING)))

    def finish(self, x: Tensor, kv: Tensor, cache: ConditionCache, joined: Joined | None) -> Tensor:
        """Compute what `advance` does for the output tokens alone: (N, width)."""
        attended = self._attend_moving(x, kv, cache, joined, 1)
        return self.mix(cache.spread(x)[:, -1], attended[:, 0])

    def _attend_moving(
        self, x: Tensor, kv: Tensor, cache: ConditionCache, joined: Joined | None, last: int
    ) -> Tensor:
        """Attention (N, last, width) of the last moving tokens of every row."""
        attn = self.attn1
        q, own = attn.split_qkv(cache.spread(attn.project(self.norm1(x), joined)))
        kv[..., -MOVING:, :] = own
        return attn.attend(q[:, :, -last:], kv[0], kv[1], cache.visible[:, :, -last:])

    def mix(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block, token by token."""
        x = x + self.attn1.out(attended)
        return x + self.ff(self.norm3(x))


class TimeEmbedding(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear_1 = Linear(width, inner)
        self.linear_2 = Linear(inner, width)

    def forward(self, t: Tensor) -> Tensor:
        """Cosines and sines of t (N,), through two layers: (N, width)."""
        half = self.linear_1.in_features // 2
        # Not a buffer: in half precision it would lose the timestep.
        exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
        angles = t.float()[:, None] * torch.exp(-math.log(10000) * exponents)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return out


class Prior(nn.Module):
    """Predicts the normalised clean embedding x0 (N, D) from x_t (N, D), t and condition tokens.

    Tokens (N, K, D) are normalised and zero where dropped; the mask (N, K) is true for every slot
    that is used, dropped or not. No mask means that all are used.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width, dim = config.width, config.embedding_dim
        clip_dim = config.clip_embed_dim or dim
        self.time_embedding = TimeEmbedding(width, config.time_embed_dim or width)
        self.proj_in = Linear(dim, width)
        self.embedding_proj = Linear(config.embedding_proj_dim or dim, width)
        self.encoder_hidden_states_proj = Linear(dim, width)
        positions = config.num_embeddings + 1 + MOVING
        self.positional_embedding = nn.Parameter(torch.zeros(1, positions, width))
        self.prd_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.transformer_blocks = nn.ModuleList(
            Block(width, config.num_attention_heads, config.dropout)
            for _ in range(config.num_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.proj_to_clip_embeddings = Linear(width, clip_dim)
        # Constants of the embedding space. Parameters only because diffusers has them so.
        self.clip_mean = nn.Parameter(torch.zeros(1, clip_dim), requires_grad=False)
        self.clip_std = nn.Parameter(torch.ones(1, clip_dim), requires_grad=False)
        self.gradient_checkpointing = False  # in `forward`: less memory, more computing

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        tokens: Tensor,
        mask: Tensor | None = None,
        marks: Tensor | None = None,
    ) -> Tensor:
        """x0 (N, D) for training: x_t (N, D), t (N,) or (), tokens (N, K, D), mask (N, K).

        `marks` (N, 2, width): added to the conditions and to the pooled-text slot, once projected.
        """
        prefix = self._prefix(tokens)
        if marks is not None:
            conditions, pooled = marks.split(1, dim=1)
            prefix = prefix + torch.cat([conditions.expand(-1, tokens.shape[1], -1), pooled], dim=1)
        moving = self._moving(x_t, self.time_embedding(t.reshape(-1)))
        x = torch.cat([prefix, moving], dim=1)  # (N, K + 4, width)
        bias = None
        if mask is not None:
            bias = _attention_bias(mask, 1 + MOVING, _computed_in(x))[..., : x.shape[1]]
        for block in self.transformer_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, bias, use_reentrant=False)
            else:
                x = block(x, bias)
        return self._predict(x[:, -1])

    def join_projections(self) -> Self:
        """Lay Q, K and V of every block side by side in memory, so that they are one product.

        Names and numbers of the weights stay as they are. Call it where the weights are to stay:
        weights that are moved or replaced one by one are three products again.
        """
        for block in self.transformer_blocks:
            block.attn1.join()  # type: ignore[operator, union-attr]
        return self

    @torch.no_grad()
    def condition(self, tokens: Tensor, mask: Tensor | None = None) -> ConditionCache:
        """Compute keys and values of the conditions and the pooled-text slot, for `denoise`.

        Args:
            tokens: Normalised condition tokens (N, K, D).
            mask: True (N, K) for every slot that is used; None: all are.

        Returns:
            A cache of N rows.
        """
        x = self._prefix(tokens)  # (N, K + 1, width)
        n, length = x.shape[:2]
        cfg = self.config
        shape = (cfg.num_layers, 2, n, cfg.num_attention_heads, length + MOVING)
        kv = x.new_empty(*shape, cfg.attention_head_dim)
        if mask is None:
            mask = torch.ones(n, length - 1, dtype=torch.bool, device=x.device)
        bias = _attention_bias(mask, 1 + MOVING, x.dtype)  # (N, 1, K + 4, at least K + 4)
        joined = tuple(block.attn1.joined() for block in self.transformer_blocks)  # type: ignore[operator, union-attr]
        seen = bias[:, :, :length, :length]
        for layer, block in enumerate(self.transformer_blocks):
            x = block.prefill(x, kv[layer, ..., :length, :], seen, joined[layer])  # type: ignore[operator]
        return ConditionCache(kv, bias[:, :, length:].contiguous(), joined)

    @torch.no_grad()
    def time_tokens(self, t: Tensor) -> Tensor:
        """Compute the time tokens (S, width) of timesteps t (S,), for `denoise`."""
        tokens: Tensor = self.time_embedding(t)
        return tokens

    @torch.no_grad()
    def denoise(self, x_t: Tensor, time: Tensor, cache: ConditionCache) -> Tensor:
        """Predict what `forward` does from three tokens a row, at one timestep for all rows.

        Of the last block, only the output tokens are computed.

        Args:
            x_t: Noisy embeddings (N, D).
            time: The time token (width,) of the timestep, from `time_tokens`.
            cache: The conditions of the N rows.

        Returns:
            x0 (N, D) in the dtype of x_t.
        """
        x = cache.gather(self._moving(x_t, time))  # (N, 3, width), or (R + 2N, width)
        kv = cache.kv.unbind(0)
        *blocks, last = self.transformer_blocks
        for layer, block in enumerate(blocks):
            x = block.advance(x, kv[layer], cache, cache.joined[layer])  # type: ignore[operator]
        x = last.finish(x, kv[-1], cache, cache.joined[-1])  # type: ignore[operator]
        return self._predict(x).to(x_t.dtype)

    def sharing(self, own: Mapping[str, Tensor] | None = None) -> Prior:
        """Another prior with the same tensors in memory, but those of `own`."""
        with torch.device("meta"):
            other = Prior(self.config)
        other.load_state_dict({**self.state_dict(), **(own or {})}, assign=True)
        return other.requires_grad_(False).eval()

    def normalise(self, embeddings: Tensor) -> Tensor:
        """(e - clip_mean) / clip_std, in float32."""
        return (embeddings.float() - self.clip_mean.float()) / self.clip_std.float()

    def denormalise(self, embeddings: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return embeddings.float() * self.clip_std.float() + self.clip_mean.float()

    def _prefix(self, tokens: Tensor) -> Tensor:
        """Conditions at positions 0.., the pooled-text slot (zeros, projected) after the last."""
        slots = self.config.num_embeddings
        n, k = tokens.shape[:2]
        if k > slots:
            raise ValueError(f"{k} condition tokens, but this prior has {slots} slots")
        position = self.positional_embedding
        weight_dtype = self.encoder_hidden_states_proj.weight.dtype
        conditions = self.encoder_hidden_states_proj(tokens.to(weight_dtype)) + position[:, :k]
        zeros = tokens.new_zeros(1, 1, self.embedding_proj.in_features, dtype=weight_dtype)
        pooled = self.embedding_proj(zeros) + position[:, slots : slots + 1]
        return torch.cat([conditions, pooled.expand(n, -1, -1)], dim=1)

    def _moving(self, x_t: Tensor, time: Tensor) -> Tensor:
        n = x_t.shape[0]
        time = time.expand(n, -1)
        noisy = self.proj_in(x_t.to(self.proj_in.weight.dtype))
        moving = torch.stack([time, noisy, self.prd_embedding[0].expand(n, -1)], dim=1)
        return moving + self.positional_embedding[:, -MOVING:]  # (N, 3, width)

    def _predict(self, last: Tensor) -> Tensor:
        out: Tensor = self.proj_to_clip_embeddings(self.norm_out(last))
        return out


def _computed_in(x: Tensor) -> torch.dtype:
    """The format that attention on x computes in: autocast's, where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _attention_bias(mask: Tensor, visible: int, dtype: torch.dtype) -> Tensor:
    """Additive bias (N, 1, S, P), S = K + visible: causal, and masked conditions are not seen.

    Every token sees itself, so that no row is empty; nothing else sees a masked one. P is S, up to
    the next multiple of 16: attention on a GPU would copy rows that begin elsewhere. What is beyond
    S is -inf.
    """
    n, k = mask.shape
    length = k + visible
    padded = -(-length // ALIGNED) * ALIGNED
    keys = F.pad(mask.bool(), (0, visible), value=True)  # (N, S)
    causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    allowed = F.pad(causal & (keys[:, None, :] | itself), (0, padded - length))  # (N, S, P)
    bias = torch.zeros(n, length, padded, dtype=dtype, device=mask.device)
    return bias.masked_fill_(~allowed, -torch.inf)[:, None]
