"""Shards of embeddings on a cluster: to the engine, a shard is a sample of a single stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from pops.datagen.sample import Sample, Script
from pops.datagen.stages import StageModel, StageRequest, Stages

__all__ = ["ClusterShards", "MakeShard", "ShardSettings"]

STAGE = "embed"


@dataclass(frozen=True)
class MakeShard(StageRequest):
    """Asks for a shard of embeddings: by its number, and what is to be in it."""

    stage = STAGE
    number: int
    content: Any


class ShardSettings(Protocol):
    """The settings of a command that writes shards of embeddings."""

    @property
    def stack(self) -> str:
        """The stack whose encoders make the embeddings."""

    @property
    def actors(self) -> int:
        """The number of processes that encode, each a shard at a time."""

    @property
    def ray_address(self) -> str | None:
        """The address of a running cluster; None to start one on this machine."""


Config = TypeVar("Config", bound=ShardSettings)
Encoder = Callable[[Sequence[MakeShard]], Sequence[Any]]


@dataclass(frozen=True)
class ClusterShards(Generic[Config]):
    """The settings of such a command as a cluster takes them.

    Args:
        config: the settings.
        load: loads what makes shards in one process; a function of a module, so that every
            machine finds it.
    """

    config: Config
    load: Callable[[Config], Encoder]
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
        return Stages({STAGE: partial(self.load, self.config)}, {STAGE: model})

    def make(self, contents: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Make shards on the cluster.

        Args:
            contents: What is to be in each shard, by its number.

        Yields:
            The number of each shard, and the shard; they come in any order.

        Raises:
            UsageError: Ray is not installed, or there is no cluster at the address.
            PopsError: A shard cannot be made.
        """
        from pops.datagen.engines.ray import make_on_cluster

        script = partial(_script, contents)
        for one in make_on_cluster(list(contents), script, (STAGE,), self):
            yield one.index, one.sample.facts["shard"]


def _script(contents: Mapping[int, Any], index: int, attempt: int) -> Script:
    (shard,) = yield [MakeShard(index, contents[index])]
    return Sample(f"shard-{index}", {}, {"shard": shard})
