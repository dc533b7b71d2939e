"""`pops embed`, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pops.data.cache import build
from pops.data.cache.format import CacheShard
from pops.data.config import EmbedConfig
from pops.data.dataset import BrokenRecords, ExampleDataset
from pops.datagen.embeddings.shards import ClusterShards, MakeShard
from pops.stacks.stack import open_stack

__all__ = ["embed"]


def embed(config: EmbedConfig) -> int:
    """Run `pops embed`, by the engine that the settings name.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    if config.engine == "local":
        return build.embed(config)
    cluster = ClusterShards(config, _encoder)

    def make(numbers: Sequence[int]) -> Iterator[tuple[int, CacheShard]]:
        return cluster.make(dict.fromkeys(numbers))  # the dataset says what each shard holds

    return build.embed(config, make)


def _encoder(config: EmbedConfig) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Load what makes shards in one process."""
    operator, recipe = config.found()
    dataset = ExampleDataset(
        operator,
        recipe,
        config.datasets(),
        config.recipe_settings(),
        seed=config.seed,
        max_broken_share=config.max_broken_share,
    )
    stack = open_stack(
        config.stack, device=config.device, dtype=config.dtype, offload=config.offload
    )
    index = build.make_index(dataset, stack, config.variants, config.shard_records)

    def answer(asked: Sequence[MakeShard]) -> list[CacheShard]:
        numbers = [request.number for request in asked]
        made = build.make_shards(
            numbers, index, dataset, stack, config.batch, 0, BrokenRecords(dataset)
        )
        return [shard for _, shard in made]

    return answer
