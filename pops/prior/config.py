"""The sizes of a prior, as they stand in the config.json of diffusers' PriorTransformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pops.errors import WeightsError
from pops.io.formats.configs import Size, fit_fields
from pops.io.formats.schema import Meta, Share, read_json

__all__ = ["PriorConfig", "read_prior_config"]


@dataclass(frozen=True)
class PriorConfig:
    """The fields of a PriorTransformer's config that vary; all others are checked."""

    ONLY: ClassVar[Mapping[str, Any]] = {
        "time_embed_act_fn": "silu",
        "norm_in_type": None,
        "embedding_proj_norm_type": None,
        "encoder_hid_proj_type": "linear",
        "added_emb_type": "prd",
        "additional_embeddings": 4,
    }

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
        """The numbers of a token inside the model."""
        return self.num_attention_heads * self.attention_head_dim

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], source: str = "prior config") -> PriorConfig:
        """Read a config.

        Args:
            config: The fields of a config.json.
            source: The name of the file, for messages.

        Returns:
            The fields that vary.

        Raises:
            WeightsError: The config is of a variant of the prior that is not supported.
        """
        known = {field.name for field in fields(cls)} | set(cls.ONLY)
        for key in config:
            if key not in known and not key.startswith("_"):
                raise WeightsError(f"{source}: unknown field {key!r}")
        return fit_fields(config, cls, source)

    def to_dict(self) -> dict[str, Any]:
        """Give the config.json that diffusers' PriorTransformer reads.

        Returns:
            The fields by name, with the class name and the choices that never change.
        """
        return {"_class_name": "PriorTransformer", **asdict(self), **self.ONLY}


def read_prior_config(folder: Path) -> PriorConfig:
    """Read the config of a stack's `prior` folder.

    Args:
        folder: The folder.

    Returns:
        The config.

    Raises:
        WeightsError: The file is missing, or is not a config of a supported prior.
    """
    path = folder / "config.json"
    return PriorConfig.from_dict(read_json(path, dict[str, Any], WeightsError), str(path))
