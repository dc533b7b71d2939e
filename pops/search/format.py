"""The files of an index: one description, and an array and a list for every shard of pictures.

    index.json            the stack, the encoder and the folder of the pictures
    embeds-00000.npy      (M, D) float16, the un-normalised embeddings of the shard
    shard-00000.json      the names of its pictures below the folder, and those that are broken;
                          written last, so that a shard is there when this file is

Names and arrays are those of any shards, as in the caches of `pops embed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from pops.errors import DataError
from pops.io.files import make_folder
from pops.io.formats.schema import Schema, Text, read_json, write_json
from pops.io.formats.shards import (
    list_shards,
    read_list,
    read_shard_array,
    shard_file,
    write_shard_files,
)

__all__ = [
    "MAKE_ANEW",
    "IndexFile",
    "IndexShard",
    "read_index_file",
    "read_shards",
    "write_index_file",
    "write_shard",
]

FORMAT: Literal[1] = 1
MAKE_ANEW = "; remove it and run pops index again"


class IndexFile(Schema):
    """`index.json`: what the embeddings of an index are made from."""

    stack: Text
    encoders: dict[str, Text]  # digest of the files of the image encoder and its processor
    dim: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    folder: Text  # the folder of the pictures
    format: Literal[1] = FORMAT


# The name of a picture below the folder: it leads to no other place.
_Below = Annotated[str, msgspec.Meta(pattern=r"^(?!/|[A-Za-z]:[/\\])(?!(.*/)?\.\.(/|\Z)).")]


class _ShardFile(Schema):
    """`shard-00000.json`."""

    names: list[_Below]
    broken: dict[str, str]


@dataclass(frozen=True)
class IndexShard:
    """A shard of an index.

    Args:
        names: the names of its pictures below the folder, in the order of the rows.
        embeds: their embeddings (M, D) float16.
        broken: why pictures are left out, by name.
    """

    names: list[str]
    embeds: np.ndarray
    broken: dict[str, str]


def write_index_file(folder: Path, index: IndexFile) -> None:
    """Write the description of an index, or check that the one there is the same.

    Args:
        folder: the folder of the index.
        index: the description.

    Raises:
        DataError: the folder holds an index of another stack, encoder or folder.
        OutputError: the folder cannot be written.
    """
    path = make_folder(folder) / "index.json"
    if path.exists():
        there = read_index_file(folder)
        for name in ("dim", "encoders", "folder"):
            if getattr(there, name) != getattr(index, name):
                raise DataError(
                    f"{folder} holds an index made from another {name.removesuffix('s')}: name "
                    "another folder by --out"
                )
        return
    write_json(path, index)


def read_index_file(folder: Path) -> IndexFile:
    """Read the description of an index.

    Args:
        folder: the folder of the index.

    Returns:
        The description.

    Raises:
        DataError: there is none, or it is damaged or of another format.
    """
    path = folder / "index.json"
    if not path.exists():
        raise DataError(f"{folder} holds no index: make one with pops index DIR --out {folder}")
    return read_json(path, IndexFile, DataError)


def write_shard(folder: Path, number: int, shard: IndexShard) -> None:
    """Write the array of a shard and, last, the file that says that it is there.

    Args:
        folder: the folder of the index.
        number: the number of the shard.
        shard: its pictures.

    Raises:
        OutputError: the folder cannot be written.
    """
    lists = _ShardFile(names=shard.names, broken=shard.broken)
    write_shard_files(folder, number, {"embeds": shard.embeds}, lists)


def read_shards(folder: Path, dim: int) -> dict[int, IndexShard]:
    """Read all shards of an index. Their arrays stay in their files.

    Args:
        folder: the folder of the index.
        dim: the length of an embedding.

    Returns:
        The shards by number, in order.

    Raises:
        DataError: a file is missing or damaged, or does not fit its list.
    """
    shards = {}
    for number in list_shards(folder):
        lists = read_list(folder, number, _ShardFile)
        embeds = read_shard_array(folder, "embeds", number, MAKE_ANEW)
        if embeds.shape != (len(lists.names), dim) or embeds.dtype != np.float16:
            raise DataError(
                f"{shard_file(folder, 'embeds', number)} is {embeds.shape} {embeds.dtype}, and "
                f"{shard_file(folder, 'shard', number).name} lists "
                f"{len(lists.names)} pictures of {dim} numbers{MAKE_ANEW}"
            )
        shards[number] = IndexShard(lists.names, embeds, lists.broken)
    return shards
