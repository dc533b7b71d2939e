"""`pops stats`: mean and deviation of the embeddings of an index, written as a stack reads them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pops.errors import DataError, UsageError
from pops.io.names import expand_home
from pops.search.config import StatsConfig
from pops.search.exact import Index
from pops.stacks.stack import open_stack
from pops.stacks.untrained import is_untrained, save_stats

__all__ = ["measure", "stats"]


def stats(config: StatsConfig) -> int:
    """Run `pops stats`: measure the embeddings of an index, and write what the stack needs.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.

    Raises:
        UsageError: the stack is not a folder, or has a base prior, which brings its own statistics.
    """
    stack = open_stack(config.stack, device="cpu")
    if not expand_home(stack.spec.prior).is_dir() or not is_untrained(stack.prior_folder):
        raise UsageError(
            f"{config.stack} has its statistics in its base prior: name the folder of a stack "
            "of your own that has encoders and no prior/prior"
        )
    index = Index(config.index)
    index.check_stack(stack)
    mean, deviation = measure(index)
    found = {"clip_mean": mean, "clip_std": deviation}
    path = save_stats(stack.prior_folder, found, len(index))
    print(
        f"{path}  ({len(index)} pictures, {len(mean[0])} numbers: mean {mean.mean():.4f}, "
        f"deviation {deviation.min():.4f} to {deviation.max():.4f})"
    )
    return 0


def measure(index: Index) -> tuple[Tensor, Tensor]:
    """Measure mean and deviation of each number of the embeddings of an index, block by block.

    Args:
        index: the index.

    Returns:
        Mean and deviation, (1, D) float32 each; the deviation is that of a sample.

    Raises:
        DataError: there are too few pictures to tell, all have the same number somewhere, or a
            number is not finite.
    """
    count = len(index)
    if count < 2:
        raise DataError(f"{index.folder} holds {count} picture: index at least two")
    blocks = (block.astype(np.float64).sum(0) for block in index.blocks())
    mean = sum(blocks, np.zeros(index.file.dim)) / count
    spread = (np.square(block.astype(np.float64) - mean).sum(0) for block in index.blocks())
    deviation = np.sqrt(sum(spread, np.zeros(index.file.dim)) / (count - 1))
    if not np.isfinite(deviation).all():
        raise index.not_finite()
    flat = int((deviation < np.finfo(np.float16).tiny).sum())
    if flat:
        raise DataError(
            f"{index.folder}: {flat} numbers of an embedding are the same in all {count} "
            "pictures: index more pictures, and more varied ones"
        )
    return torch.from_numpy(mean).float()[None], torch.from_numpy(deviation).float()[None]
