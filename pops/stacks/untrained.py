"""Stacks that have no base prior yet: what it would tell is read from elsewhere.

The length of an embedding is that of the image encoder. Mean and deviation of embeddings lie in
`prior/stats.safetensors`, which `pops stats` writes. A base prior, once it is there, has its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pops.errors import WeightsError
from pops.io.formats.configs import Size
from pops.io.formats.schema import fit, read_json
from pops.io.formats.tensors import read_tensors, save_tensors
from pops.prior.config import PriorConfig

__all__ = ["STATS", "is_untrained", "read_stats", "save_stats", "untrained_config"]

STATS = "stats.safetensors"
NAMES = ("clip_mean", "clip_std")
CLIP_DIM = 512  # the default of transformers, where a config of CLIP does not say


def is_untrained(folder: Path) -> bool:
    """Tell whether a stack has encoders, but no base prior.

    Args:
        folder: Its folder `prior`.

    Returns:
        True where the prior is still to be trained.
    """
    return not (folder / "prior").exists() and (folder / "image_encoder").is_dir()


def untrained_config(folder: Path) -> PriorConfig:
    """Give the sizes of a prior for the embeddings of a stack's image encoder.

    Args:
        folder: Its folder `prior`.

    Returns:
        The sizes of Kandinsky 2.2's prior, with the length of the embeddings.

    Raises:
        WeightsError: The config of the image encoder is missing or damaged.
    """
    path = folder / "image_encoder" / "config.json"
    said = read_json(path, dict[str, Any], WeightsError).get("projection_dim", CLIP_DIM)
    return PriorConfig(embedding_dim=fit(said, Size, WeightsError, f"{path}: projection_dim"))


def read_stats(folder: Path, dim: int) -> dict[str, Tensor]:
    """Read mean and deviation of the embeddings of a stack without a base prior.

    Args:
        folder: Its folder `prior`.
        dim: The length of an embedding.

    Returns:
        `clip_mean` and `clip_std`, (1, D) float32 each.

    Raises:
        WeightsError: The file is missing or damaged, or of other embeddings.
    """
    path = folder / STATS
    if not path.exists():
        raise WeightsError(
            f"{path} is missing: make it with pops stats from an index of pictures, which pops "
            "index makes"
        )
    found = read_tensors(path)
    if set(found) != set(NAMES) or any(found[name].shape != (1, dim) for name in NAMES):
        raise WeightsError(
            f"{path} holds no statistics for embeddings of {dim} numbers: make it again with "
            "pops stats"
        )
    if not (found["clip_std"] > 0).all():
        raise WeightsError(f"{path}: a deviation is not above 0: run pops stats on more pictures")
    return {name: found[name].float() for name in NAMES}


def save_stats(folder: Path, stats: Mapping[str, Tensor], pictures: int) -> Path:
    """Write mean and deviation of the embeddings of a stack.

    Args:
        folder: Its folder `prior`.
        stats: `clip_mean` and `clip_std`, (1, D) each.
        pictures: The number of pictures that they were measured on.

    Returns:
        The file.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / STATS
    save_tensors(path, stats, {"format": "pt", "pictures": str(pictures)})
    return path
