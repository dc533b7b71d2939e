"""The nearest rows by LanceDB: on disk, for more rows than memory holds, and not exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from pops.errors import DataError, UsageError, install_hint
from pops.io.formats.tensors import saving
from pops.search.exact import Hit, Index

__all__ = ["LanceIndex", "check_lance", "write_table"]

TABLE = "pictures"
PLACE = "lance"  # folder inside that of the index
LEAST_ROWS = 10_000  # below which LanceDB looks at every row, since that is quicker
PART = 16  # numbers of an embedding in one of its codes: a code is a byte
PROBED = 0.1  # share of the clusters that are looked into
REFINED = 10  # times as many rows are compared by their full embeddings


def check_lance() -> None:
    """Check that LanceDB is installed.

    Raises:
        UsageError: it is not; the error tells how to install it.
    """
    if find_spec("lancedb") is None:
        raise UsageError(f"--lance needs LanceDB: {install_hint('search')}")


def write_table(folder: Path) -> None:
    """Write the embeddings of an index as a LanceDB table, clustered where there are many.

    Args:
        folder: the folder of the index.

    Raises:
        DataError: the index is missing or damaged.
        UsageError: LanceDB is not installed.
        OutputError: the table cannot be written.
    """
    check_lance()
    import lancedb
    import pyarrow as pa

    index = Index(folder)
    dim = index.file.dim
    schema = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float16(), dim))])

    def rows() -> Iterator[Any]:
        start = 0
        for block in index.blocks():
            numbers = pa.array(np.arange(start, start + len(block)))
            flat = pa.array(np.ascontiguousarray(block).reshape(-1))
            vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
            yield pa.RecordBatch.from_arrays([numbers, vectors], schema=schema)
            start += len(block)

    with saving(folder / PLACE):
        home = lancedb.connect(str(folder / PLACE))
        table = home.create_table(TABLE, rows(), schema=schema, mode="overwrite")
        if len(index) >= LEAST_ROWS:
            table.create_index(
                metric="cosine",
                num_partitions=round(math.sqrt(len(index))),
                num_sub_vectors=max(1, dim // PART),
            )


class LanceIndex:
    """The pictures of an index, found by its LanceDB table.

    Args:
        folder: the folder of the index.

    Raises:
        DataError: it has no table, or one of another number of pictures.
        UsageError: LanceDB is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        check_lance()
        import lancedb

        self.index = Index(folder)
        place = self.index.folder / PLACE
        if not (place / f"{TABLE}.lance").is_dir():
            raise DataError(f"{place} holds no table: run pops index again with --lance")
        self.table = lancedb.connect(str(place)).open_table(TABLE)
        if self.table.count_rows() != len(self.index):
            raise DataError(f"{place} is older than the index: run pops index again with --lance")

    def rows(
        self, queries: Tensor, k: int, probed: float = PROBED
    ) -> list[list[tuple[int, float]]]:
        """Find the nearest rows of each query.

        Args:
            queries: un-normalised embeddings (Q, D).
            k: the number of rows.
            probed: the share of the clusters that are looked into; more finds more, and takes
                longer.

        Returns:
            For each query pairs of a row and its cosine, the nearest first.
        """
        clusters = round(math.sqrt(len(self.index)))
        found = []
        for query in F.normalize(queries.float(), dim=1).numpy():
            search = self.table.search(query).distance_type("cosine").limit(k)
            search = search.nprobes(max(1, round(clusters * probed))).refine_factor(REFINED)
            rows = search.select(["row", "_distance"]).to_list()
            found.append([(int(one["row"]), 1 - float(one["_distance"])) for one in rows])
        return found

    def find(self, queries: Tensor, k: int) -> list[list[Hit]]:
        """Find the nearest pictures of each query, as `Index.find` does, though some may be missed.

        Args:
            queries: un-normalised embeddings (Q, D).
            k: the number of pictures.

        Returns:
            For each query its hits, the nearest first.

        Raises:
            DataError: the table names a picture that the index does not have.
        """
        found = self.rows(queries, k)
        if any(not 0 <= row < len(self.index) for pairs in found for row, _ in pairs):
            place = self.index.folder / PLACE
            raise DataError(f"{place} belongs to another index: run pops index again with --lance")
        return [[self.index.hit(row, score) for row, score in pairs] for pairs in found]
