"""A cache of embeddings on disk: one index, and for every shard of records some array files.

    index.json            what it was made from; a cache of anything else is refused
    embeds-00000.npy      (M, D) float16, the distinct normalised embeddings of the shard
    rows-00000.npy        (R, V, 1 + slots) int32: target and inputs by row of embeds; -1: dropped
    words-00000.npy       (R, V, 3) int32: text, whether it is dropped, drawn to; -1: none
    hidden-00000.npy      (T, D) float16, the text tokens of the distinct texts, one after another
    drawn-00000.npy       (Q, D) float16, the embeddings of the texts that are drawn to
    shard-00000.json      which records these are, the texts, and the broken records that are left
                          out; written last, so that a shard is there when this is

R records with V variants each. The last three of the arrays are there for operators with a text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pops.errors import DataError
from pops.io.files import atomic_path

__all__ = [
    "CacheIndex",
    "Shard",
    "read_index",
    "read_shard",
    "shard_file",
    "write_index",
    "write_shard",
]

FORMAT = 1


@dataclass(frozen=True)
class CacheIndex:
    """What a cache was made from, and in what pieces."""

    stack: str
    encoders: dict[str, str]  # digests of files
    clip_stats: str  # digest of what normalises the embeddings
    dim: int
    operator: dict[str, Any]  # what of its row is frozen in the examples
    recipe: str
    recipe_version: int
    settings: dict[str, Any]
    datasets: list[dict[str, Any]]  # place, number of records, digest of the listing
    variants: int
    seed: int
    shard_records: int
    format: int = FORMAT

    @property
    def records(self) -> int:
        return sum(dataset["records"] for dataset in self.datasets)

    @property
    def shards(self) -> int:
        return -(-self.records // self.shard_records)

    def ordinals(self, shard: int) -> range:
        """The records of a shard, counted over all datasets."""
        start = shard * self.shard_records
        return range(start, min(start + self.shard_records, self.records))

    def part_of(self, ordinal: int) -> tuple[int, int]:
        """(dataset, record in it) of a record that is counted over all."""
        for part, dataset in enumerate(self.datasets):
            if ordinal < dataset["records"]:
                return part, ordinal
            ordinal -= dataset["records"]
        raise IndexError(ordinal)

    def difference(self, other: CacheIndex) -> str | None:
        """In words, the first thing in which this differs from `other`; None where in nothing.

        The names and places of stacks and datasets may differ: what they hold counts.
        """
        mine, theirs = _comparable(self), _comparable(other)
        for name, value in mine.items():
            if value != theirs[name]:
                return f"{name.replace('_', ' ')} {_short(theirs[name])}, not {_short(value)}"
        return None


def _comparable(index: CacheIndex) -> dict[str, Any]:
    """The index flat, one level of names, without what may differ."""
    flat: dict[str, Any] = {}
    for name, value in asdict(index).items():
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
class Shard:
    """The examples of some records."""

    records: list[int]  # ordinals of those that are whole
    embeds: np.ndarray
    rows: np.ndarray
    words: np.ndarray | None = None
    texts: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # tokens of each text
    hidden: np.ndarray | None = None
    drawn_to: list[str] = field(default_factory=list)
    drawn: np.ndarray | None = None
    broken: dict[str, str] = field(default_factory=dict)  # by ordinal, why


ARRAYS = ("embeds", "rows", "words", "hidden", "drawn")
LISTS = ("records", "texts", "lengths", "drawn_to", "broken")


def write_index(folder: Path, index: CacheIndex) -> None:
    """Write the index, or see that the one there is the same.

    Raises:
        DataError: the folder holds a cache of something else.
    """
    path = folder / "index.json"
    if path.exists():
        if difference := index.difference(read_index(folder)):
            raise DataError(
                f"{folder} holds a cache made with {difference}: name another folder by --out"
            )
        return
    with atomic_path(path) as part:
        part.write_text(json.dumps(asdict(index), indent=2) + "\n", encoding="utf-8")


def read_index(folder: Path) -> CacheIndex:
    """The index of a cache; DataError where there is none that this version reads."""
    path = folder / "index.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("format") != FORMAT:
            raise DataError(f"{path} is of format {found.get('format')}: make it anew, pops embed")
        return CacheIndex(**found)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no cache: make one with pops embed --out={folder}"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as the index of a cache ({error})") from error


def shard_file(folder: Path, kind: str, shard: int) -> Path:
    """A file of a shard: `shard`, or the name of one of its arrays."""
    return folder / f"{kind}-{shard:05d}.{'json' if kind == 'shard' else 'npy'}"


def write_shard(folder: Path, number: int, shard: Shard) -> None:
    """Write the arrays of a shard and, last, what says that they are there."""
    for left in folder.glob(f".*-{number:05d}-*"):  # half a file, of a run that was killed
        left.unlink(missing_ok=True)
    for kind in ARRAYS:
        array = getattr(shard, kind)
        if array is not None:
            with atomic_path(shard_file(folder, kind, number)) as part, part.open("wb") as file:
                np.save(file, array)
    lists = {name: getattr(shard, name) for name in LISTS}
    with atomic_path(shard_file(folder, "shard", number)) as part:
        part.write_text(json.dumps(lists) + "\n", encoding="utf-8")


def read_shard(folder: Path, number: int) -> Shard:
    """A shard, its arrays mapped into memory; DataError where it is damaged."""
    path = shard_file(folder, "shard", number)
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
        kinds = ARRAYS if lists["texts"] else ("embeds", "rows")
        arrays: dict[str, Any] = {kind: _mapped(shard_file(folder, kind, number)) for kind in kinds}
        shard = Shard(**lists, **arrays)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} or an array beside it is damaged ({error}): remove it and run pops embed again"
        ) from error
    if len(shard.rows) != len(shard.records):
        raise DataError(f"{path} does not fit its arrays: remove it and run pops embed again")
    return shard


def _mapped(path: Path) -> np.ndarray:
    with path.open("rb") as file:  # an empty array cannot be mapped
        np.lib.format.read_magic(file)
        empty = 0 in np.lib.format.read_array_header_1_0(file)[0]
    return np.load(path) if empty else np.load(path, mmap_mode="r").view(np.ndarray)
