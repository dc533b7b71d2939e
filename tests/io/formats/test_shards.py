"""A shard is there when its list is, and its list is written last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pops.errors import DataError, OutputError
from pops.io.formats.schema import Schema, write_json
from pops.io.formats.shards import (
    list_shards,
    read_list,
    read_shard_array,
    shard_file,
    write_shard_files,
)


class Names(Schema):
    """A list of a shard."""

    names: list[str]


def test_a_shard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_shard_files(tmp_path, 7, {"embeds": rows}, Names(names=["ä", "b"]))
    assert list_shards(tmp_path) == [7]
    assert read_list(tmp_path, 7, Names).names == ["ä", "b"]
    assert np.array_equal(read_shard_array(tmp_path, "embeds", 7), rows)


def test_without_its_list_a_shard_is_not_there(tmp_path: Path) -> None:
    write_shard_files(tmp_path, 0, {"embeds": np.zeros((1, 2))}, Names(names=["a"]))
    shard_file(tmp_path, "embeds", 1).write_bytes(shard_file(tmp_path, "embeds", 0).read_bytes())
    assert list_shards(tmp_path) == [0]


def test_an_array_that_cannot_be_written_leaves_no_list(tmp_path: Path) -> None:
    shard_file(tmp_path, "embeds", 0).mkdir()  # a folder in its place
    with pytest.raises(OutputError, match="embeds-00000.npy"):
        write_shard_files(tmp_path, 0, {"embeds": np.zeros((1, 2))}, Names(names=["a"]))
    assert list_shards(tmp_path) == []


def test_shards_are_listed_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (100_000, 3, 20):
        write_shard_files(tmp_path, number, {}, Names(names=[]))
    assert list_shards(tmp_path) == [3, 20, 100_000]


def test_a_missing_array_is_named_with_the_advice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"embeds-00002.npy is missing; make it again"):
        read_shard_array(tmp_path, "embeds", 2, "; make it again")


def test_a_number_that_is_not_finite_is_never_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_json(path, {"score": 1.5})
    with pytest.raises(ValueError):
        write_json(path, {"score": float("nan")})
    assert path.read_text(encoding="utf-8") == '{\n  "score": 1.5\n}\n'
