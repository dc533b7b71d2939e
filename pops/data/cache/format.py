"""A cache of embeddings on disk: one index, and some array files for every shard of records.

    index.json            what the cache was made from; a cache of anything else is refused
    embeds-00000.npy      (M, D) float16, the distinct normalised embeddings of the shard
    rows-00000.npy        (R, V, 1 + slots) int32, rows of embeds: the target, then the inputs; -1
                          where an input is dropped
    words-00000.npy       (R, V, 3) int32: number of the text, whether it is dropped, number of the
                          target text; -1 for none
    hidden-00000.npy      (T, D) float16, the tokens of the distinct texts, one after another
    drawn-00000.npy       (Q, D) float16, the embeddings of the target texts
    shard-00000.json      the records of the shard, the texts, and the broken records that are left
                          out; written last, so that a shard is there when this file is

There are R records with V variants each. The arrays of texts exist for operators with a text only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from pops.data.cache.checks import find_fault
from pops.errors import DataError
from pops.io.formats.schema import Count, Schema, Text, read_json, write_json
from pops.io.formats.shards import (
    list_shards,
    read_list,
    read_shard_array,
    shard_file,
    write_shard_files,
)

__all__ = [
    "CacheIndex",
    "CacheShard",
    "DatasetTraits",
    "OperatorTraits",
    "made_shards",
    "read_index",
    "read_shard",
    "write_index",
    "write_shard",
]

FORMAT: Literal[1] = 1
Positive = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
MAKE_ANEW = "; remove it and run pops embed again"


class DatasetTraits(Schema):
    """A dataset that a cache was made from."""

    place: Text  # a folder, or the name of a dataset of the hub
    records: Count  # the number of its records
    listing: Text  # digest of the names and sizes of its files


class OperatorTraits(Schema):
    """The part of an operator's row that is frozen in its examples."""

    name: Text
    inputs: tuple[Text, ...]
    takes_text: bool
    drop_each: float
    drop_all: float


class CacheIndex(Schema):
    """`index.json`: what a cache was made from, and in what pieces."""

    stack: Text
    encoders: dict[str, Text]  # digest of the files of each encoder
    clip_stats: Text  # digest of the mean and deviation that normalise embeddings
    dim: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    operator: OperatorTraits
    recipe: Text
    recipe_version: int
    settings: dict[str, bool | int | float | str | None]
    datasets: Annotated[list[DatasetTraits], msgspec.Meta(min_length=1, max_length=10_000)]
    variants: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    seed: Annotated[int, msgspec.Meta(ge=0)]
    shard_records: Positive
    format: Literal[1] = FORMAT

    @property
    def records(self) -> int:
        """The number of records of all datasets."""
        return sum(dataset.records for dataset in self.datasets)

    @property
    def shards(self) -> int:
        """The number of shards when the cache is complete."""
        return -(-self.records // self.shard_records)

    def ordinals(self, shard: int) -> range:
        """List the records of a shard.

        Args:
            shard: Its number.

        Returns:
            The numbers of its records, counted over all datasets.
        """
        start = shard * self.shard_records
        return range(start, min(start + self.shard_records, self.records))

    def part_of(self, ordinal: int) -> tuple[int, int]:
        """Find the dataset of a record.

        Args:
            ordinal: The number of the record, counted over all datasets.

        Returns:
            (dataset, record): the number of the dataset, and of the record in it.

        Raises:
            IndexError: There are fewer records.
        """
        for part, dataset in enumerate(self.datasets):
            if ordinal < dataset.records:
                return part, ordinal
            ordinal -= dataset.records
        raise IndexError(ordinal)

    def difference(self, other: CacheIndex) -> str | None:
        """Say in which way this index differs from another.

        The names and places of stacks and datasets may differ: their contents count.

        Args:
            other: The index that is there.

        Returns:
            The first difference in words; None where there is none.
        """
        mine, theirs = _comparable(self), _comparable(other)
        for name, value in mine.items():
            if value != theirs.get(name):
                return f"{name.replace('_', ' ')} {_short(theirs.get(name))}, not {_short(value)}"
        return None


def _comparable(index: CacheIndex) -> dict[str, Any]:
    """Flatten the index to one level of names, without what may differ."""
    flat: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(index).items():
        if isinstance(value, dict):
            flat |= {f"{name}: {key}": each for key, each in value.items()}
        elif name == "datasets":
            flat[name] = [{k: v for k, v in each.items() if k != "place"} for each in value]
        elif name != "stack":
            flat[name] = value
    return flat


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return " + ".join(f"{each['records']} records ({each['listing'][:6]})" for each in value)
    return str(value)


@dataclass
class CacheShard:
    """The examples of some records. R records, V variants, M pictures, Q target texts."""

    records: list[int]  # their numbers, counted over all datasets, without the broken ones
    embeds: np.ndarray  # (M, D)
    rows: np.ndarray  # (R, V, 1 + slots)
    text_rows: np.ndarray | None = None  # (R, V, 3)
    texts: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # tokens of each text
    text_tokens: np.ndarray | None = None  # (sum of lengths, D)
    target_texts: list[str] = field(default_factory=list)
    target_embeds: np.ndarray | None = None  # (Q, D)
    broken: dict[str, str] = field(default_factory=dict)  # number of a record -> why


# The names of the array files.
FILES = {
    "embeds": "embeds",
    "rows": "rows",
    "text_rows": "words",
    "text_tokens": "hidden",
    "target_embeds": "drawn",
}


class _Lists(Schema):
    """`shard-00000.json`."""

    records: list[Count]
    texts: list[str]
    lengths: list[Positive]
    target_texts: list[str] = msgspec.field(name="drawn_to")
    broken: dict[str, str]


def write_index(folder: Path, index: CacheIndex) -> None:
    """Write the index of a cache, or check that the one there is the same.

    Args:
        folder: The folder of the cache.
        index: What the cache is made from.

    Raises:
        DataError: The folder holds a cache of something else.
        OutputError: The folder cannot be written.
    """
    path = folder / "index.json"
    if path.exists():
        if difference := index.difference(read_index(folder)):
            raise DataError(
                f"{folder} holds a cache made with {difference}: name another folder by --out"
            )
        return
    write_json(path, index)


def read_index(folder: Path) -> CacheIndex:
    """Read the index of a cache.

    Args:
        folder: The folder of the cache.

    Returns:
        The index.

    Raises:
        DataError: There is none, or it is damaged or of another format.
    """
    path = folder / "index.json"
    if not path.exists():
        raise DataError(f"{folder} holds no cache: make one with pops embed --out={folder}")
    return read_json(path, CacheIndex, DataError)


def made_shards(folder: Path, index: CacheIndex) -> list[int]:
    """List the shards that are there.

    Args:
        folder: The folder of the cache.
        index: Its index.

    Returns:
        Their numbers in order.
    """
    return [number for number in list_shards(folder) if number < index.shards]


def write_shard(folder: Path, number: int, shard: CacheShard) -> None:
    """Write the arrays of a shard and, last, the file that says that they are there.

    Args:
        folder: The folder of the cache.
        number: The number of the shard.
        shard: Its examples.

    Raises:
        OutputError: The folder cannot be written.
    """
    arrays = {FILES[kind]: getattr(shard, kind) for kind in FILES}
    there = {name: array for name, array in arrays.items() if array is not None}
    lists = _Lists(**{name: getattr(shard, name) for name in _Lists.__struct_fields__})
    write_shard_files(folder, number, there, lists)


def read_shard(folder: Path, number: int, index: CacheIndex) -> CacheShard:
    """Read a shard, and check that it is what the index says. Its arrays stay in their files.

    Args:
        folder: The folder of the cache.
        number: The number of the shard.
        index: The index of the cache.

    Returns:
        The shard.

    Raises:
        DataError: A file of it is missing or damaged, or they do not fit one another.
    """
    lists = read_list(folder, number, _Lists)
    arrays: dict[str, Any] = {
        kind: read_shard_array(folder, FILES[kind], number, MAKE_ANEW)
        for kind in (FILES if lists.texts else ("embeds", "rows"))
    }
    shard = CacheShard(**{n: getattr(lists, n) for n in _Lists.__struct_fields__}, **arrays)
    if fault := find_fault(shard, index, index.ordinals(number)):
        path = shard_file(folder, "shard", number)
        raise DataError(f"{path} does not fit its arrays: {fault}{MAKE_ANEW}")
    return shard
