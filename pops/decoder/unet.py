"""The UNet of Kandinsky 2.2, which predicts the noise of latents from an image embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pops.decoder.config import UNetConfig
from pops.decoder.layers import attend, double, halve, split_heads
from pops.prior.blocks import TimeEmbedding

__all__ = ["Condition", "UNet", "UNetConfig"]

TOKENS = 32  # that are made of an embedding
KeysValues = tuple[Tensor, Tensor]  # (N, heads, TOKENS, channels of a head) each
Resize = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Condition:
    """Holds what a UNet makes of embeddings, which is the same at every step.

    Attributes:
        added: What is added to the time embedding (N, 4 * width).
        keys_values: The keys and values of the tokens, for each attention in the order of running.
    """

    added: Tensor
    keys_values: list[KeysValues]


class UNet(nn.Module):
    """Predicts the noise of latents, or whatever its scheduler asks for.

    Args:
        config: The sizes of the UNet.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        finest, time = widths[0], 4 * widths[0]
        layer = partial(_Residual, time, config)
        attention = partial(_Attention, config)
        self.conv_in = nn.Conv2d(config.in_channels, finest, 3, padding=1)
        self.time_embedding = TimeEmbedding(finest, time, time)
        self.add_embedding = _ImageEmbedding(config.encoder_hid_dim, time)
        self.encoder_hid_proj = _ImageTokens(config.encoder_hid_dim, config.cross_attention_dim)
        kept = [finest]  # the channels of what is kept for the way up
        self.down_blocks = nn.ModuleList()
        for i, attends in enumerate(config.attends("down_block_types")):
            out = widths[i]
            ins = [kept[-1], *[out] * (config.layers_per_block - 1)]
            last = i == len(widths) - 1
            self.down_blocks.append(
                _Level(
                    [layer(width, out) for width in ins],
                    [attention(out) for _ in ins if attends],
                    downsamplers=[] if last else [layer(out, out, halve)],
                )
            )
            kept += [out] * (len(ins) + (not last))
        coarsest = widths[-1]
        self.mid_block = _Level(
            [layer(coarsest, coarsest) for _ in range(2)], [attention(coarsest)]
        )
        self.up_blocks = nn.ModuleList()
        before = coarsest
        for i, attends in enumerate(config.attends("up_block_types")):
            out = widths[-1 - i]
            ins = [width + kept.pop() for width in (before, *[out] * config.layers_per_block)]
            self.up_blocks.append(
                _Level(
                    [layer(width, out) for width in ins],
                    [attention(out) for _ in ins if attends],
                    upsamplers=[] if i == len(widths) - 1 else [layer(out, out, double)],
                )
            )
            before = out
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, finest, config.norm_eps)
        self.conv_out = nn.Conv2d(finest, config.out_channels, 3, padding=1)

    def condition(self, image_embeds: Tensor) -> Condition:
        """Compute what depends on embeddings alone.

        Args:
            image_embeds: Un-normalised embeddings (N, D).

        Returns:
            The condition of every step.
        """
        tokens = self.encoder_hid_proj(image_embeds)
        levels = (*self.down_blocks, self.mid_block, *self.up_blocks)
        layers = [layer for level in levels for layer in level.attentions]
        return Condition(
            self.add_embedding(image_embeds), [layer.keys_values(tokens) for layer in layers]
        )

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the noise of latents.

        Args:
            x: Noisy latents (N, in_channels, H, W).
            t: The timestep () of all.
            condition: What `condition` has computed for them.

        Returns:
            The prediction (N, out_channels, H, W).
        """
        embed = F.silu(self.time_embedding(t.expand(1)) + condition.added)
        added = iter(condition.keys_values)
        x = self.conv_in(x)
        kept = [x]
        for level in self.down_blocks:
            x = level.down(x, embed, added, kept)  # type: ignore[operator]
        x = self.mid_block.middle(x, embed, added)
        for level in self.up_blocks:
            x = level.up(x, embed, added, kept)  # type: ignore[operator]
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return out


class _ImageEmbedding(nn.Module):
    """Turns an embedding (N, D) into what is added to the time embedding (N, time)."""

    def __init__(self, dim: int, time: int) -> None:
        super().__init__()
        self.image_proj = nn.Linear(dim, time)
        self.image_norm = nn.LayerNorm(time)

    def forward(self, image_embeds: Tensor) -> Tensor:
        made: Tensor = self.image_norm(self.image_proj(image_embeds))
        return made


class _ImageTokens(nn.Module):
    """Turns an embedding (N, D) into tokens (N, TOKENS, width)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.image_embeds = nn.Linear(dim, TOKENS * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_embeds: Tensor) -> Tensor:
        made: Tensor = self.norm(self.image_embeds(image_embeds).unflatten(1, (TOKENS, -1)))
        return made


class _Residual(nn.Module):
    """Two convolutions beside their input; an embedding (N, time) scales and shifts between them.

    Where there is a `resize`, it changes the size of the pictures before they are convolved.
    """

    def __init__(
        self, time: int, config: UNetConfig, width: int, out: int, resize: Resize | None = None
    ) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.norm1 = nn.GroupNorm(groups, width, eps)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, 2 * out)
        self.norm2 = nn.GroupNorm(groups, out, eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()
        self.resize = resize

    def forward(self, x: Tensor, embed: Tensor) -> Tensor:
        inner = F.silu(self.norm1(x))
        if self.resize is not None:
            x, inner = self.resize(x), self.resize(inner)
        inner = self.conv1(inner)
        scale, shift = self.time_emb_proj(embed)[:, :, None, None].chunk(2, dim=1)
        inner = F.silu(self.norm2(inner) * (1 + scale) + shift)
        made: Tensor = self.conv_shortcut(x) + self.conv2(inner)
        return made


class _Attention(nn.Module):
    """Attention of the places of a picture (N, width, H, W) to each other, and to tokens."""

    def __init__(self, config: UNetConfig, width: int) -> None:
        super().__init__()
        self.heads = width // config.attention_head_dim
        inner, tokens = self.heads * config.attention_head_dim, config.cross_attention_dim
        self.group_norm = nn.GroupNorm(config.norm_num_groups, width)
        self.to_q = nn.Linear(width, inner)
        self.to_k = nn.Linear(width, inner)
        self.to_v = nn.Linear(width, inner)
        self.add_k_proj = nn.Linear(tokens, inner)
        self.add_v_proj = nn.Linear(tokens, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])

    def keys_values(self, tokens: Tensor) -> KeysValues:
        keys, values = self.add_k_proj(tokens), self.add_v_proj(tokens)
        return split_heads(keys, self.heads), split_heads(values, self.heads)

    def forward(self, x: Tensor, added: KeysValues) -> Tensor:
        places = self.group_norm(x).flatten(2).transpose(1, 2)
        queries, keys, values = (
            split_heads(layer(places), self.heads) for layer in (self.to_q, self.to_k, self.to_v)
        )
        keys, values = torch.cat([added[0], keys], dim=2), torch.cat([added[1], values], dim=2)
        made = self.to_out[0](attend(queries, keys, values))
        return x + made.transpose(1, 2).reshape(x.shape)


class _Level(nn.Module):
    """Residual layers of one size, attention, and a layer that changes the size."""

    def __init__(
        self,
        resnets: Sequence[nn.Module],
        attentions: Sequence[nn.Module],
        downsamplers: Sequence[nn.Module] = (),
        upsamplers: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList(downsamplers)
        self.upsamplers = nn.ModuleList(upsamplers)

    def down(
        self, x: Tensor, embed: Tensor, added: Iterator[KeysValues], kept: list[Tensor]
    ) -> Tensor:
        for i, resnet in enumerate(self.resnets):
            x = self._attend(i, resnet(x, embed), added)
            kept.append(x)
        for resize in self.downsamplers:
            x = resize(x, embed)
            kept.append(x)
        return x

    def middle(self, x: Tensor, embed: Tensor, added: Iterator[KeysValues]) -> Tensor:
        first, last = self.resnets
        made: Tensor = last(self._attend(0, first(x, embed), added), embed)
        return made

    def up(
        self, x: Tensor, embed: Tensor, added: Iterator[KeysValues], kept: list[Tensor]
    ) -> Tensor:
        for i, resnet in enumerate(self.resnets):
            x = self._attend(i, resnet(torch.cat([x, kept.pop()], dim=1), embed), added)
        for resize in self.upsamplers:
            x = resize(x, embed)
        return x

    def _attend(self, i: int, x: Tensor, added: Iterator[KeysValues]) -> Tensor:
        made: Tensor = self.attentions[i](x, next(added)) if len(self.attentions) else x
        return made
