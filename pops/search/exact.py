"""The nearest rows of an index, exactly: products of blocks of it, which stay in their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pops.errors import DataError, InputError, UsageError
from pops.io.formats.shards import shard_file
from pops.io.names import expand_home
from pops.io.pictures import open_picture
from pops.search.format import MAKE_ANEW, IndexShard, read_index_file, read_shards
from pops.stacks.stack import Stack

__all__ = ["Hit", "Index", "nearest_rows"]

BLOCK = 2**15  # rows of a block


@dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Args:
        folder: the folder of the pictures.
        name: its name below that folder.
        score: the cosine of its embedding and that of the query.
    """

    folder: Path
    name: str
    score: float

    @property
    def path(self) -> Path:
        """The file of the picture."""
        return self.folder / self.name

    def open(self) -> Image.Image:
        """Open the picture.

        Returns:
            An RGB picture.

        Raises:
            InputError: it is gone or damaged; the error names it and not where it lies, since a
                studio tells it to visitors.
        """
        try:
            return open_picture(self.path)
        except InputError as error:
            raise InputError(
                f"{self.name} is gone, or cannot be opened as a picture any more: make the "
                "index again"
            ) from error


class Index:
    """Pictures with their embeddings.

    Args:
        folder: the folder of the index, as `pops index` writes it.

    Raises:
        DataError: there is none, it is damaged, or it has no picture.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = expand_home(folder)
        self.file = read_index_file(self.folder)
        self._by_number = read_shards(self.folder, self.file.dim)
        self._shards: Sequence[IndexShard] = [s for s in self._by_number.values() if s.names]
        self._starts = np.cumsum([0, *(len(shard.names) for shard in self._shards)])
        if not self._shards:
            raise DataError(f"{self.folder} holds no picture: run pops index again")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def blocks(self) -> Iterator[np.ndarray]:
        """Give the embeddings, block by block, from their files.

        Yields:
            Arrays (M, D) float16, in the order of the rows.
        """
        for shard in self._shards:
            for start in range(0, len(shard.embeds), BLOCK):
                yield shard.embeds[start : start + BLOCK]

    def path(self, row: int) -> Path:
        """Find the file of a row.

        Args:
            row: its number.

        Returns:
            The path of the picture.
        """
        return self.hit(row, 0.0).path

    def hit(self, row: int, score: float) -> Hit:
        """Make the hit of a row.

        Args:
            row: its number.
            score: its cosine.

        Returns:
            The hit.
        """
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        name = self._shards[shard].names[row - int(self._starts[shard])]
        return Hit(Path(self.file.folder), name, score)

    def find(self, queries: Tensor, k: int) -> list[list[Hit]]:
        """Find the nearest pictures of each query, the nearest first.

        Args:
            queries: un-normalised embeddings (Q, D).
            k: the number of pictures; fewer where the index has fewer.

        Returns:
            For each query its hits; equal scores in the order of the index.

        Raises:
            UsageError: the queries are of another length than the embeddings of the index.
            DataError: an embedding of the index is not finite.
        """
        if queries.shape[1] != self.file.dim:
            raise UsageError(
                f"{self.folder} holds embeddings of {self.file.dim} numbers, of the stack "
                f"{self.file.stack}, but was asked for one of {queries.shape[1]}: use --stack "
                f"{self.file.stack}"
            )
        scores, rows = nearest_rows(queries, self.blocks(), k)
        if scores.isnan().any():  # NaN would be sorted before all numbers
            raise self.not_finite()
        return [
            [self.hit(row, score) for score, row in zip(*pair, strict=True)]
            for pair in zip(scores.tolist(), rows.tolist(), strict=True)
        ]

    def not_finite(self) -> DataError:
        """Make the error of an index in which a number is not finite, which names the file.

        Returns:
            The error.
        """
        for number, shard in self._by_number.items():
            if not np.isfinite(shard.embeds).all():
                path = shard_file(self.folder, "embeds", number)
                return DataError(f"{path} holds numbers that are not finite{MAKE_ANEW}")
        return DataError(
            f"{self.folder} was asked for an embedding that is not finite: make it again"
        )

    def check_stack(self, stack: Stack) -> None:
        """Check that a stack makes embeddings of the space of this index.

        Args:
            stack: the stack.

        Raises:
            UsageError: it has other encoders.
        """
        from pops.data.cache.fingerprints import encoder_digests

        if encoder_digests(stack, with_text=False) != self.file.encoders:
            raise UsageError(
                f"{self.folder} was made by the encoder of {self.file.stack}, which is not that "
                f"of {stack.name}: use --stack {self.file.stack}, or make the index again"
            )


def nearest_rows(queries: Tensor, blocks: Iterator[np.ndarray], k: int) -> tuple[Tensor, Tensor]:
    """Find the rows of largest cosine, exactly, with memory for a block and the best rows alone.

    Args:
        queries: (Q, D).
        blocks: arrays (M, D), in the order of the rows.
        k: the number of rows to find.

    Returns:
        Cosines (Q, k) and rows (Q, k), the nearest first; fewer where there are fewer rows.
    """
    wanted = F.normalize(queries.float(), dim=1)
    scores = torch.zeros(len(queries), 0)
    rows = torch.zeros(len(queries), 0, dtype=torch.long)
    start = 0
    for block in blocks:
        cosines = wanted @ F.normalize(torch.from_numpy(block.astype(np.float32)), dim=1).T
        own = torch.arange(start, start + len(block)).expand(len(queries), -1)
        start += len(block)
        best, at = cosines.topk(min(k, len(block)), dim=1)
        scores, rows = torch.cat([scores, best], 1), torch.cat([rows, own.gather(1, at)], 1)
        by_row = rows.argsort(dim=1)  # so that equal scores stay in the order of the index
        scores, rows = scores.gather(1, by_row), rows.gather(1, by_row)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        scores, rows = scores.gather(1, order), rows.gather(1, order)
    return scores, rows
