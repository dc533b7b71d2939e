"""`pops embed`, in this process or on a cluster: a shard of a cache is a sample of one stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pops.data.cache import build
from pops.data.cache.format import CacheShard
from pops.data.config import EmbedConfig
from pops.data.dataset import BrokenRecords, ExampleDataset
from pops.datagen.sample import Sample, Script
from pops.datagen.stages import StageModel, StageRequest, Stages
from pops.stacks.stack import open_stack

__all__ = ["ClusterEmbedding", "EmbedShard", "embed"]

STAGE = "embed"


@dataclass(frozen=True)
class EmbedShard(StageRequest):
    """Asks for a shard of a cache. The answer is a CacheShard."""

    stage = STAGE
    number: int


@dataclass(frozen=True)
class ClusterEmbedding:
    """The settings of `pops embed` as a cluster takes them; each process encodes whole shards."""

    config: EmbedConfig
    batch_size: int = 1  # shards that a process makes at once

    @property
    def actors(self) -> int:
        """The number of processes that encode."""
        return self.config.actors

    @property
    def ray_address(self) -> str | None:
        """The address of a running cluster; None to start one on this machine."""
        return self.config.ray_address

    def load_stages(self) -> Stages:
        """Find the one stage; its models are loaded when it is first asked.

        Returns:
            The stages.
        """
        model = StageModel(self.config.stack, "as installed", "as its own card says")
        return Stages({STAGE: partial(_encoder, self.config)}, {STAGE: model})


def embed(config: EmbedConfig) -> int:
    """Run `pops embed`, by the engine that the settings name.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    if config.engine == "local":
        return build.embed(config)
    return build.embed(config, partial(_on_cluster, ClusterEmbedding(config)))


def _on_cluster(
    cluster: ClusterEmbedding, numbers: Sequence[int]
) -> Iterator[tuple[int, CacheShard]]:
    """Make shards on a cluster; they come in any order."""
    from pops.datagen.engines.ray import make_on_cluster

    for one in make_on_cluster(numbers, _script, (STAGE,), cluster):
        yield one.index, one.sample.facts["shard"]


def _script(index: int, attempt: int) -> Script:
    (shard,) = yield [EmbedShard(index)]
    return Sample(f"shard-{index}", {}, {"shard": shard})


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

    def answer(asked: Sequence[EmbedShard]) -> list[CacheShard]:
        numbers = [request.number for request in asked]
        made = build.make_shards(
            numbers, index, dataset, stack, config.batch, 0, BrokenRecords(dataset)
        )
        return [shard for _, shard in made]

    return answer
