"""The settings of `pops index` and `pops find`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pops.errors import UsageError
from pops.settings.fields import ACTORS, BATCH, SEED, WORKERS, Range, argument, setting
from pops.settings.groups import NamedStack, OwnOperators, SampledConfig, StackConfig
from pops.settings.shard import Shard

__all__ = ["FindConfig", "IndexConfig", "StatsConfig"]

MOST_FOUND = 10_000


@dataclass(frozen=True, kw_only=True)
class IndexConfig(StackConfig):
    """Encode a folder of pictures once, so that pictures can be found in it.

    Folders in it count, too. Run the command again to go on where it was stopped, or to add
    pictures that are new. Several machines can share the work: give each its own --shard.
    """

    folder: Path = argument("the folder of pictures")
    out: Path = setting(Path("my.index"), "folder of the index")
    batch: int = setting(32, "pictures in one call of the encoder", within=BATCH)
    shard: str = setting("0/1", "i/n: this is machine i of n, counted from 0")
    shard_pictures: int = setting(
        4096, "pictures in one file; a killed run loses no more", within=Range(1, 1_000_000)
    )
    num_workers: int | None = setting(
        None, "processes that open pictures; null: one for each core, at most 8", within=WORKERS
    )
    lance: bool = setting(False, "also write a LanceDB table, for indexes of many millions")
    engine: Literal["local", "ray"] = setting(
        "local", "where the work is done; local: in this process; ray: on a Ray cluster"
    )
    actors: int = setting(
        1, "processes on a Ray cluster that encode, each a file at a time", within=ACTORS
    )
    ray_address: str | None = setting(
        None, "address of a running Ray cluster; null: start one on this machine"
    )

    resumes = True
    examples = (
        "pops index assets/objects --out out/objects.index",
        "pops index photos --out photos.index --stack kandinsky-2.2 --shard 0/4",
        "pops index /shared/photos --stack kandinsky-2.2 --engine ray --actors 8",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.part

    @property
    def part(self) -> tuple[int, int]:
        """(number, count) of this machine's part of the work."""
        shard = Shard.parse(self.shard)
        return shard.number, shard.count

    @property
    def workers(self) -> int:
        """The number of processes that open pictures."""
        return min(8, os.cpu_count() or 1) if self.num_workers is None else self.num_workers


@dataclass(frozen=True, kw_only=True)
class FindConfig(SampledConfig, OwnOperators):
    """Find the pictures of an index that are nearest to a composition.

    Prints a table, and draws the pictures in a strip. A single quoted file is a composition, too:
    it finds what looks like it.
    """

    composition: str = argument("the composition, in quotes")
    index: Path = setting(Path("my.index"), "folder of the index, as pops index writes it")
    k: int = setting(12, "pictures to find, the nearest first", within=Range(1, MOST_FOUND))
    seeds: tuple[int, ...] = setting((18,), "seeds of the operators, one search each", within=SEED)
    lance: bool = setting(False, "ask the LanceDB table of the index, which is not exact")
    html: bool = setting(False, "also write a page that holds all: pictures, settings, the command")
    json: bool = setting(False, "print what was found as one JSON list")
    out: Path = setting(Path("out/find"), "folder to write into")

    examples = (
        "pops find \"'assets/objects/mug.png'\" --index out/objects.index --k 6",
        "pops find \"scene('dog.jpg', 'beach.jpg')\" --index photos.index --stack kandinsky-2.2",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not str(self.index):
            raise UsageError("--index is empty: name a folder, as pops index writes it")


@dataclass(frozen=True, kw_only=True)
class StatsConfig(NamedStack):
    """Measure mean and deviation of the embeddings of an index, for a stack of your own.

    A stack needs them before its base prior is trained. The index is that of a folder of pictures,
    as many and as varied as the stack is to know. Writes prior/stats.safetensors into the stack.
    """

    index: Path = argument("folder of the index, as pops index writes it")

    examples = ("pops stats photos.index --stack stacks/open-clip",)
