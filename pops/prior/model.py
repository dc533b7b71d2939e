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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pops.errors import WeightsError
from pops.io.schema import Meta, Share, fit, read_json
from pops.prior.linear import Linear

__all__ = ["ConditionCache", "Prior", "PriorConfig", "read_prior_config"]

Size = Annotated[int, Meta(ge=1, le=2**16)]
MOVING = 3  # time, noisy, output
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


@dataclass(frozen=True)
class ConditionCache:
    """What the moving tokens attend to: computed once per request, used at every step.

    The last three places of `keys` and `values` are scratch, written by each `denoise`; a cache
    belongs to one sampling loop at a time. Its N rows are samples of R <= N distinct requests.
    """

    keys: Tensor  # (layers, N, heads, K + 4, head dim)
    values: Tensor  # the same
    bias: Tensor  # (N, 1, 3, K + 4): 0 where a moving token may look, else -inf
    request: Tensor  # (N,): which of the R requests a row is of
    example: Tensor  # (R,): a row of every request

    def rows(self, index: Tensor) -> ConditionCache:
        """The cache of the rows `index` (M,), repeated and reordered at will."""
        index = index.to(self.keys.device)
        kept, request = torch.unique(self.request[index], return_inverse=True)
        example = torch.empty_like(kept)
        example[request] = torch.arange(len(index), device=index.device)
        return ConditionCache(
            self.keys.index_select(1, index),
            self.values.index_select(1, index),
            self.bias.index_select(0, index),
            request,
            example,
        )

    def spread(self, tokens: Tensor) -> Tensor:
        """Moving tokens (R + 2N, width), the time tokens first, as (N, 3, width)."""
        time, others = tokens.tensor_split([len(self.example)])
        others = others.view(len(self.request), MOVING - 1, -1)
        return torch.cat([time[self.request, None], others], dim=1)

    def gather(self, tokens: Tensor) -> Tensor:
        """The inverse of `spread`: every shared time token once."""
        return torch.cat([tokens[self.example, 0], tokens[:, 1:].flatten(0, 1)])


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(width, width)
        self.to_k = Linear(width, width)
        self.to_v = Linear(width, width)
        self.to_out = nn.ModuleList([Linear(width, width), nn.Dropout(dropout)])

    def split(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        x = x.view(n, length, self.heads, width // self.heads)
        return x.transpose(1, 2)  # (N, heads, S, head dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(x), self.to_k(x), self.to_v(x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None)
        return x.transpose(1, 2).flatten(2)  # (N, S, width)

    def out(self, x: Tensor) -> Tensor:
        for module in self.to_out:
            x = module(x)
        return x


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

    def forward(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """One block over a whole sequence (N, S, width); also gives its keys and values."""
        attn = self.attn1
        q, k, v = map(attn.split, attn.project(self.norm1(x)))
        return self.mix(x, attn.attend(q, k, v, bias)), k, v

    def transform(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """`forward` without its keys and values."""
        out: Tensor = self(x, bias)[0]
        return out

    def advance(self, x: Tensor, keys: Tensor, values: Tensor, cache: ConditionCache) -> Tensor:
        """One block over the moving tokens (R + 2N, width), given all keys that came before."""
        attn = self.attn1
        q, k, v = (attn.split(cache.spread(y)) for y in attn.project(self.norm1(x)))
        keys[:, :, -MOVING:] = k
        values[:, :, -MOVING:] = v
        return self.mix(x, cache.gather(attn.attend(q, keys, values, cache.bias)))

    def finish(self, x: Tensor, keys: Tensor, values: Tensor, cache: ConditionCache) -> Tensor:
        """`advance` for the output tokens alone: (N, width)."""
        attn, normed = self.attn1, self.norm1(x)
        keys[:, :, -MOVING:] = attn.split(cache.spread(attn.to_k(normed)))
        values[:, :, -MOVING:] = attn.split(cache.spread(attn.to_v(normed)))
        q = attn.split(attn.to_q(cache.spread(normed)[:, -1:]))
        attended = attn.attend(q, keys, values, cache.bias[:, :, -1:])
        return self.mix(cache.spread(x)[:, -1], attended[:, 0])

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
            k = tokens.shape[1]
            prefix = prefix + marks.repeat_interleave(torch.tensor([k, 1]).to(marks.device), dim=1)
        x = torch.cat([prefix, self._moving(x_t, t)], dim=1)  # (N, K + 4, width)
        bias = None if mask is None else _attention_bias(mask, 1 + MOVING, x.dtype)
        for block in self.transformer_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block.transform, x, bias, use_reentrant=False)
            else:
                x = block.transform(x, bias)  # type: ignore[operator]
        return self._predict(x[:, -1])

    @torch.no_grad()
    def condition(self, tokens: Tensor, mask: Tensor | None = None) -> ConditionCache:
        """Keys and values of the conditions and the pooled-text slot, for `denoise`."""
        x = self._prefix(tokens)  # (N, K + 1, width)
        n, length = x.shape[:2]
        cfg = self.config
        shape = (cfg.num_layers, n, cfg.num_attention_heads, length + MOVING)
        keys = x.new_empty(*shape, cfg.attention_head_dim)
        values = torch.empty_like(keys)
        if mask is None:
            mask = torch.ones(n, length - 1, dtype=torch.bool, device=x.device)
        bias = _attention_bias(mask, 1 + MOVING, x.dtype)  # (N, 1, K + 4, K + 4)
        prefix_bias = bias[:, :, :length, :length]
        for layer, block in enumerate(self.transformer_blocks):
            x, k, v = block(x, prefix_bias)
            keys[layer, :, :, :length] = k
            values[layer, :, :, :length] = v
        rows = torch.arange(n, device=x.device)
        return ConditionCache(keys, values, bias[:, :, length:].contiguous(), rows, rows)

    @torch.no_grad()
    def denoise(self, x_t: Tensor, t: Tensor, cache: ConditionCache) -> Tensor:
        """x0 (N, D) in the dtype of x_t: what `forward` gives, from three tokens a row.

        One timestep t () for all rows. Of the last block, only the output tokens are computed.
        """
        if t.numel() != 1:
            raise ValueError(f"{t.numel()} timesteps, but denoise takes one for all rows")
        x = cache.gather(self._moving(x_t, t))  # (R + 2N, width)
        keys, values = cache.keys.unbind(0), cache.values.unbind(0)
        *blocks, last = self.transformer_blocks
        for layer, block in enumerate(blocks):
            x = block.advance(x, keys[layer], values[layer], cache)  # type: ignore[operator]
        x = last.finish(x, keys[-1], values[-1], cache)  # type: ignore[operator]
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

    def _moving(self, x_t: Tensor, t: Tensor) -> Tensor:
        n = x_t.shape[0]
        time = self.time_embedding(t.reshape(-1)).expand(n, -1)
        noisy = self.proj_in(x_t.to(self.proj_in.weight.dtype))
        moving = torch.stack([time, noisy, self.prd_embedding[0].expand(n, -1)], dim=1)
        return moving + self.positional_embedding[:, -MOVING:]  # (N, 3, width)

    def _predict(self, last: Tensor) -> Tensor:
        out: Tensor = self.proj_to_clip_embeddings(self.norm_out(last))
        return out


def _attention_bias(mask: Tensor, visible: int, dtype: torch.dtype) -> Tensor:
    """Additive bias (N, 1, S, S), S = K + visible: causal, and masked conditions are not seen.

    Every token sees itself, so that no row is empty; nothing else sees a masked one.
    """
    keys = F.pad(mask.bool(), (0, visible), value=True)  # (N, S)
    length = keys.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    allowed = causal & (keys[:, None, :] | itself)  # (N, S, S)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill_(~allowed, -torch.inf)[:, None]
