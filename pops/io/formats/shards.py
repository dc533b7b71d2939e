"""Shards: numbered pieces of a folder of embeddings, each a list and the arrays that belong to it.

    shard-00000.json      the list of the shard; written last, so that a shard is there when this
                          file is
    NAME-00000.npy        one file for each of its arrays

Caches of training data and indexes of pictures are both kept so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from pops.errors import DataError
from pops.io.formats.arrays import read_array, save_array
from pops.io.formats.schema import read_json, write_json

__all__ = ["list_shards", "read_list", "read_shard_array", "shard_file", "write_shard_files"]

T = TypeVar("T")

LIST = "shard"  # the name of the file with the list
MOST_LISTED = 2**28  # bytes of the list of a shard


def shard_file(folder: Path, name: str, number: int) -> Path:
    """Name a file of a shard.

    Args:
        folder: The folder of the shards.
        name: `shard` for the list, or the name of an array.
        number: The number of the shard.

    Returns:
        The path.
    """
    return folder / f"{name}-{number:05d}.{'json' if name == LIST else 'npy'}"


def list_shards(folder: Path) -> list[int]:
    """List the shards that are there.

    Args:
        folder: The folder of the shards.

    Returns:
        Their numbers in order.
    """
    found = (re.fullmatch(rf"{LIST}-(\d{{5,9}})\.json", path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in found if name)


def write_shard_files(
    folder: Path, number: int, arrays: Mapping[str, np.ndarray], content: object
) -> None:
    """Write the arrays of a shard and, last, the list that says that they are there.

    Args:
        folder: The folder of the shards.
        number: The number of the shard.
        arrays: The arrays by the names of their files.
        content: The list: a `Schema`, or what JSON holds.

    Raises:
        OutputError: The folder cannot be written.
    """
    for name, array in arrays.items():
        save_array(shard_file(folder, name, number), array)
    write_json(shard_file(folder, LIST, number), content, indent=None)


def read_list(folder: Path, number: int, kind: type[T]) -> T:
    """Read the list of a shard.

    Args:
        folder: The folder of the shards.
        number: The number of the shard.
        kind: The `Schema` of the list.

    Returns:
        The list.

    Raises:
        DataError: It is missing or damaged.
    """
    return read_json(shard_file(folder, LIST, number), kind, DataError, MOST_LISTED)


def read_shard_array(folder: Path, name: str, number: int, advice: str = "") -> np.ndarray:
    """Open an array of a shard. Its numbers stay in the file and are read as they are used.

    Args:
        folder: The folder of the shards.
        name: The name of the array.
        number: The number of the shard.
        advice: What the user can do, for the end of an error.

    Returns:
        The array.

    Raises:
        DataError: It is missing or damaged.
    """
    path = shard_file(folder, name, number)
    return read_array(path, mapped=True, error=DataError, advice=advice)
