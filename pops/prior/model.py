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

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pops.io.machine.placement import compile_steps
from pops.prior.blocks import MOVING, Block, ConditionCache, TimeEmbedding
from pops.prior.config import PriorConfig, read_prior_config
from pops.prior.linear import Linear

__all__ = ["ConditionCache", "Prior", "PriorConfig", "read_prior_config"]

ALIGNED = 16  # elements to which rows of an attention bias are aligned


class Prior(nn.Module):
    """A transformer that predicts the clean embedding from a noisy one, a timestep and conditions.

    Embeddings and condition tokens are normalised. The mask is true for every slot that is used,
    whether its input is dropped, and so a zero token, or not.

    Args:
        config: The sizes of the prior.
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
        self.compiled = False  # `step` runs compiled

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        tokens: Tensor,
        mask: Tensor | None = None,
        marks: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """Predict the clean embedding, for training.

        Args:
            x_t: Noisy embeddings (N, D).
            t: Timesteps (N,), or () for all rows.
            tokens: Condition tokens (N, K, D).
            mask: True (N, K) for slots that are used; None: all are.
            marks: Two vectors (N, 2, width): the first is added to the projected conditions, the
                second to the pooled-text slot.
            pooled: Text embeddings (N, P) for the pooled-text slot, as a base prior has; None:
                zeros.

        Returns:
            x0 (N, D), normalised.
        """
        prefix = self._prefix(tokens, pooled)
        if marks is not None:
            conditions, text = marks.split(1, dim=1)
            prefix = prefix + torch.cat([conditions.expand(-1, tokens.shape[1], -1), text], dim=1)
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

        Returns:
            The prior itself.
        """
        for block in self.transformer_blocks:
            block.attn1.join()  # type: ignore[operator, union-attr]
        return self

    @torch.no_grad()
    def condition(
        self, tokens: Tensor, mask: Tensor | None = None, pooled: Tensor | None = None
    ) -> ConditionCache:
        """Compute keys and values of the conditions and the pooled-text slot, for `denoise`.

        Args:
            tokens: Normalised condition tokens (N, K, D).
            mask: True (N, K) for every slot that is used; None: all are.
            pooled: Text embeddings (N, P) for the pooled-text slot; None: zeros, as operators have.

        Returns:
            A cache of N rows.
        """
        x = self._prefix(tokens, pooled)  # (N, K + 1, width)
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
        """Compute the time tokens that `denoise` takes.

        Args:
            t: Timesteps (S,).

        Returns:
            Tokens (S, width).
        """
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

    def step(self, x_t: Tensor, time: Tensor, cache: ConditionCache) -> Tensor:
        """Do what `denoise` does, compiled where `compiled` is set: the first call of a size waits.

        Args:
            x_t: Noisy embeddings (N, D).
            time: The time token (width,) of the timestep.
            cache: The conditions of the N rows.

        Returns:
            x0 (N, D) in the dtype of x_t; to be used before the next call, which may overwrite it.
        """
        if not self.compiled:
            return self.denoise(x_t, time, cache)
        # It stays where it is for all steps: a CUDA graph need not copy it, and may write to it.
        torch._dynamo.mark_static_address(cache.kv)
        return _compiled_denoise()(self, x_t, time, cache)

    def sharing(self, own: Mapping[str, Tensor] | None = None) -> Prior:
        """Make another prior that shares the tensors of this one in memory.

        Args:
            own: Tensors by name that the other prior has in place of this one's.

        Returns:
            A frozen prior.
        """
        shared = {
            id(tensor): nn.Parameter(tensor.detach(), requires_grad=False)
            if isinstance(tensor, nn.Parameter)
            else tensor
            for tensor in self.state_dict(keep_vars=True).values()
        }
        other = deepcopy(self, shared)  # the layers anew, whatever kind they are
        other.load_state_dict({**other.state_dict(), **(own or {})}, assign=True)
        return other.requires_grad_(False).eval()

    def normalise(self, embeddings: Tensor) -> Tensor:
        """Move embeddings into normalised space: (e - clip_mean) / clip_std, in float32.

        Args:
            embeddings: Un-normalised embeddings (N, D) on the prior's device.

        Returns:
            Normalised embeddings (N, D).
        """
        return (embeddings.float() - self.clip_mean.float()) / self.clip_std.float()

    def denormalise(self, embeddings: Tensor) -> Tensor:
        """Move embeddings out of normalised space; the inverse of `normalise`.

        Args:
            embeddings: Normalised embeddings (N, D) on the prior's device.

        Returns:
            Un-normalised embeddings (N, D) in float32.
        """
        return embeddings.float() * self.clip_std.float() + self.clip_mean.float()

    def _prefix(self, tokens: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Project the conditions (positions from 0) and, after them, the pooled-text slot."""
        slots = self.config.num_embeddings
        n, k = tokens.shape[:2]
        if k > slots:
            raise ValueError(f"{k} condition tokens, but this prior has {slots} slots")
        position = self.positional_embedding
        weight_dtype = self.encoder_hidden_states_proj.weight.dtype
        conditions = self.encoder_hidden_states_proj(tokens.to(weight_dtype)) + position[:, :k]
        if pooled is None:
            pooled = tokens.new_zeros(1, self.embedding_proj.in_features)
        text = self.embedding_proj(pooled[:, None].to(weight_dtype))
        text = text + position[:, slots : slots + 1]
        return torch.cat([conditions, text.expand(n, -1, -1)], dim=1)

    def _moving(self, x_t: Tensor, time: Tensor) -> Tensor:
        n = x_t.shape[0]
        time = time.expand(n, -1)
        noisy = self.proj_in(x_t.to(self.proj_in.weight.dtype))
        moving = torch.stack([time, noisy, self.prd_embedding[0].expand(n, -1)], dim=1)
        return moving + self.positional_embedding[:, -MOVING:]  # (N, 3, width)

    def _predict(self, last: Tensor) -> Tensor:
        out: Tensor = self.proj_to_clip_embeddings(self.norm_out(last))
        return out


@cache
def _compiled_denoise() -> Callable[[Prior, Tensor, Tensor, ConditionCache], Tensor]:
    """Compile `denoise` once for all priors of the same sizes."""
    return compile_steps(Prior.denoise)


def _computed_in(x: Tensor) -> torch.dtype:
    """Tell the number format of attention on x: that of autocast, where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _attention_bias(mask: Tensor, visible: int, dtype: torch.dtype) -> Tensor:
    """Build the additive bias (N, 1, S, P) of causal attention that sees no masked condition.

    S is K + visible. Every token sees itself, so that no row is empty; nothing else sees a masked
    one. P is S, up to the next multiple of 16: attention on a GPU would copy rows that begin
    elsewhere. Places beyond S are -inf.
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
