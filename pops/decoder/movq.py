"""The decoder of a MoVQ (arXiv 2209.09002), which turns latents into pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pops.decoder.config import MoVQConfig
from pops.decoder.layers import attend, double, split_heads

__all__ = ["MoVQ", "MoVQConfig"]

GROUPS = 32  # channels that are normalised together, whatever the config says


class MoVQ(nn.Module):
    """Turns latents into pictures; it has no encoder.

    Args:
        config: The sizes of the MoVQ.
    """

    # What the weights of a whole MoVQ begin with where they belong to its encoder.
    ENCODER = ("encoder.", "quantize.", "quant_conv.")

    def __init__(self, config: MoVQConfig) -> None:
        super().__init__()
        self.config = config
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = _Decoder(config)

    def forward(self, latents: Tensor) -> Tensor:
        """Turn latents into pictures.

        Args:
            latents: Latents (N, latent_channels, h, w).

        Returns:
            Pictures (N, out_channels, H, W), about in [-1, 1].
        """
        made: Tensor = self.decoder(self.post_quant_conv(latents), latents)
        return made


class _Decoder(nn.Module):
    def __init__(self, config: MoVQConfig) -> None:
        super().__init__()
        widths, latents = config.block_out_channels[::-1], config.latent_channels
        self.conv_in = nn.Conv2d(latents, widths[0], 3, padding=1)
        self.mid_block = _Level(
            [_Residual(widths[0], widths[0], latents) for _ in range(2)],
            [_Attention(widths[0], latents)],
        )
        self.up_blocks = nn.ModuleList()
        before = widths[0]
        for out, attends in zip(widths, config.attends("up_block_types"), strict=True):
            ins = (before, *[out] * config.layers_per_block)
            last = len(self.up_blocks) == len(widths) - 1
            self.up_blocks.append(
                _Level(
                    [_Residual(width, out, latents) for width in ins],
                    [_Attention(out, latents) for _ in ins if attends],
                    [] if last else [_Double(out)],
                )
            )
            before = out
        self.conv_norm_out = _SpatialNorm(before, latents)
        self.conv_out = nn.Conv2d(before, config.out_channels, 3, padding=1)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        x = self.mid_block.middle(self.conv_in(x), latents)
        for level in self.up_blocks:
            x = level(x, latents)
        made: Tensor = self.conv_out(F.silu(self.conv_norm_out(x, latents)))
        return made


class _Level(nn.Module):
    """Residual layers of one size, each followed by attention or none, and a doubling."""

    def __init__(
        self,
        resnets: Sequence[nn.Module],
        attentions: Sequence[nn.Module],
        upsamplers: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.upsamplers = nn.ModuleList(upsamplers)

    def middle(self, x: Tensor, latents: Tensor) -> Tensor:
        first, last = self.resnets
        made: Tensor = last(self.attentions[0](first(x, latents), latents), latents)
        return made

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, latents)
            if len(self.attentions):
                x = self.attentions[i](x, latents)
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x


class _SpatialNorm(nn.Module):
    """Normalises channels, and scales and shifts every place by the latents there."""

    def __init__(self, width: int, latents: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.conv_y = nn.Conv2d(latents, width, 1)
        self.conv_b = nn.Conv2d(latents, width, 1)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        there = F.interpolate(latents, size=x.shape[-2:])
        made: Tensor = self.norm_layer(x) * self.conv_y(there) + self.conv_b(there)
        return made


class _Residual(nn.Module):
    """Two convolutions beside their input."""

    def __init__(self, width: int, out: int, latents: int) -> None:
        super().__init__()
        self.norm1 = _SpatialNorm(width, latents)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1)
        self.norm2 = _SpatialNorm(out, latents)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(x, latents)))
        inner = self.conv2(F.silu(self.norm2(inner, latents)))
        made: Tensor = self.conv_shortcut(x) + inner
        return made


class _Attention(nn.Module):
    """Attention of the places of a picture to each other, with one head."""

    def __init__(self, width: int, latents: int) -> None:
        super().__init__()
        self.spatial_norm = _SpatialNorm(width, latents)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        places = self.spatial_norm(x, latents).flatten(2).transpose(1, 2)
        queries, keys, values = (
            split_heads(layer(places), 1) for layer in (self.to_q, self.to_k, self.to_v)
        )
        made = self.to_out[0](attend(queries, keys, values))
        return x + made.transpose(1, 2).reshape(x.shape)


class _Double(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(double(x))
        return made
