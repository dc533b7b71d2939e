"""The sizes of a decoder, as they stand in the config.json files of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pops.errors import WeightsError
from pops.io.formats.configs import Size, fit_fields
from pops.io.formats.schema import Meta, read_json

__all__ = ["MoVQConfig", "UNetConfig"]

Few = Annotated[int, Meta(ge=1, le=64)]
Widths = Annotated[tuple[Size, ...], Meta(min_length=1, max_length=16)]


@dataclass(frozen=True)
class _Config:
    """A config of which some fields vary and some have one value; the others change nothing here.

    Attributes:
        block_out_channels: The channels of each level, from the finest to the coarsest.
    """

    ONLY: ClassVar[Mapping[str, Any]]
    # The kinds of a level without attention and with it, by the field that lists those of all.
    KINDS: ClassVar[Mapping[str, tuple[str, str]]]

    block_out_channels: Widths

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the config of a model's folder.

        Args:
            folder: The folder.

        Returns:
            The fields that vary.

        Raises:
            WeightsError: The file is missing, or is of a variant that is not supported.
        """
        path = folder / "config.json"
        return cls.from_dict(read_json(path, dict[str, Any], WeightsError), str(path))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], source: str = "decoder config") -> Self:
        """Read a config.

        Args:
            config: The fields of a config.json.
            source: The name of the file, for messages.

        Returns:
            The fields that vary.

        Raises:
            WeightsError: The config is of a variant that is not supported.
        """
        made = fit_fields(config, cls, source)
        for name, known in cls.KINDS.items():
            kinds = getattr(made, name)
            if set(kinds) - set(known) or len(kinds) != len(made.block_out_channels):
                raise WeightsError(
                    f"{source}: {name} must name {' or '.join(known)} for each of "
                    f"{len(made.block_out_channels)} levels"
                )
        return made

    def attends(self, name: str) -> list[bool]:
        """Tell which levels have attention.

        Args:
            name: The field that lists their kinds.

        Returns:
            One answer for each level, in the order of the field.
        """
        return [kind == self.KINDS[name][1] for kind in getattr(self, name)]


@dataclass(frozen=True)
class UNetConfig(_Config):
    """The fields of a UNet2DConditionModel's config that vary.

    Attributes:
        down_block_types: The kinds of the levels on the way down, from the finest.
        up_block_types: The kinds of the levels on the way up, from the coarsest.
        encoder_hid_dim: The numbers of an embedding.
        cross_attention_dim: The numbers of each token that is made of an embedding.
        in_channels: The channels of latents.
        out_channels: Those of the prediction, and as many of its variance.
        layers_per_block: The residual layers of a level on the way down.
        attention_head_dim: The channels of a head of attention.
        norm_num_groups: The groups of channels that are normalised together.
        norm_eps: What is added to a variance before it divides.
    """

    ONLY: ClassVar = {
        "act_fn": "silu",
        "addition_embed_type": "image",
        "center_input_sample": False,
        "class_embed_type": None,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "cross_attention_norm": None,
        "encoder_hid_dim_type": "image_proj",
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "num_attention_heads": None,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": False,
        "resnet_time_scale_shift": "scale_shift",
        "time_cond_proj_dim": None,
        "time_embedding_act_fn": None,
        "time_embedding_dim": None,
        "time_embedding_type": "positional",
        "timestep_post_act": None,
    }
    KINDS: ClassVar = {
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "up_block_types": ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
    }

    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    encoder_hid_dim: Size
    cross_attention_dim: Size
    in_channels: Size = 4
    out_channels: Size = 4
    layers_per_block: Few = 2
    attention_head_dim: Size = 8
    norm_num_groups: Size = 32
    norm_eps: Annotated[float, Meta(gt=0, le=1)] = 1e-5


@dataclass(frozen=True)
class MoVQConfig(_Config):
    """The fields of a VQModel's config by which its decoder varies.

    Attributes:
        up_block_types: The kinds of the levels, from the coarsest.
        latent_channels: The channels of latents.
        out_channels: The channels of a picture.
        layers_per_block: The residual layers of a level, less one.
    """

    ONLY: ClassVar = {
        "act_fn": "silu",
        "lookup_from_codebook": False,
        "mid_block_add_attention": True,
        "norm_type": "spatial",
    }
    KINDS: ClassVar = {"up_block_types": ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")}

    up_block_types: tuple[str, ...]
    latent_channels: Size = 3
    out_channels: Size = 3
    layers_per_block: Few = 1
