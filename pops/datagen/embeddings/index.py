"""`pops index`, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pops.datagen.embeddings.shards import ClusterShards, MakeShard
from pops.io.names import expand_home
from pops.search import build
from pops.search.config import IndexConfig
from pops.search.format import IndexShard
from pops.stacks.stack import open_stack

__all__ = ["index"]


def index(config: IndexConfig) -> int:
    """Run `pops index`, by the engine that the settings name.

    Args:
        config: The settings of the command.

    Returns:
        The exit status: 1 where a picture is left out.
    """
    if config.engine == "local":
        return build.index(config)
    return build.index(config, ClusterShards(config, _encoder).make)


def _encoder(config: IndexConfig) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Load what makes shards in one process."""
    stack = open_stack(
        config.stack, device=config.device, dtype=config.dtype, offload=config.offload
    )
    home = expand_home(config.folder)

    def answer(asked: Sequence[MakeShard]) -> list[IndexShard]:
        contents = {request.number: request.content for request in asked}
        return [shard for _, shard in build.make_shards(contents, home, stack, config.batch, 0)]

    return answer
