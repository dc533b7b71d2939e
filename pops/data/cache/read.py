"""Training from caches of embeddings: no picture is opened and no encoder is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pops.data.cache.fingerprints import operator_traits, stats_digest
from pops.data.cache.format import (
    CacheIndex,
    CacheShard,
    made_shards,
    read_index,
    read_shard,
)
from pops.data.encoding import make_batch
from pops.data.order import MixedOrder
from pops.data.sources.batches import Batch, BatchIndices
from pops.errors import DataError
from pops.io.names import expand_home
from pops.operators import Operator
from pops.prior.conditions import Conditions

__all__ = ["CachedSource"]

IN_MEMORY = 2**31  # bytes; smaller tables of embeddings are read into memory


class CachedSource:
    """Gives batches from one or more caches. Each of their datasets is equally likely.

    In every turn a record shows another of its variants. Each record starts with a variant of its
    own, and each variant is used once before any is used again.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        clip_stats: dict[str, Tensor],
        operator: Operator,
        seed: int = 0,
        in_memory: int = IN_MEMORY,
    ) -> None:
        self.folders = [expand_home(folder) for folder in folders]
        self.indexes = [read_index(folder) for folder in self.folders]
        digest = stats_digest(clip_stats)
        for folder, index in zip(self.folders, self.indexes, strict=True):
            _check(folder, index, operator, digest)
        self.dim = self.indexes[0].dim
        self.broken: list[str] = []
        self._embeds, self._targets = Table(self.dim), Table(self.dim)
        self._load()
        for table in (self._embeds, self._targets):
            table.settle(in_memory)
        starts = np.random.default_rng((seed, 1)).integers(0, 2**31, len(self._first))
        self._starts = starts  # (R,) the variant of every record's first turn

    def __len__(self) -> int:
        return len(self.parts)

    def batches(self, indices: BatchIndices) -> Iterator[Batch]:
        """Give a batch for each element of the indices, in order.

        Args:
            indices: For every batch, the (epoch, index) of its rows.

        Yields:
            The batches.
        """
        for pairs in indices:
            at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
            yield self._batch(self._examples(at[:, 0], at[:, 1]))

    def _examples(self, epoch: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Find the stored examples (N,) of some rows."""
        part, record, turn = self.parts.locate(epoch, index)
        record = self._part_start[part] + record
        return self._first[record] + (turn + self._starts[record]) % self._variants[part]

    def _batch(self, examples: np.ndarray) -> Batch:
        gathered = self._embeds.gather(self._rows[examples])
        if self._text_rows is None:
            return make_batch(gathered)
        text, dropped, target = self._text_rows[examples].T
        embeds = self._targets.gather(target) if target[0] >= 0 else None
        return make_batch(gathered, self._texts.conditions(text, dropped.astype(bool)), embeds)

    def _load(self) -> None:
        """Read everything but the embeddings themselves into memory."""
        lengths, variants, rows, text_rows, first = [], [], [], [], []
        tokens: dict[str, np.ndarray] = {}
        stored = 0
        for folder, index in zip(self.folders, self.indexes, strict=True):
            counts = [0] * len(index.datasets)
            for shard in _shards(folder, index):
                rows.append(self._embeds.add(shard.embeds, shard.rows))
                if shard.text_rows is not None:
                    text_rows.append(self._add_texts(shard, tokens))
                for ordinal in shard.records:
                    counts[index.part_of(ordinal)[0]] += 1
                    first.append(stored)
                    stored += index.variants
                self.broken += shard.broken.values()
            if 0 in counts:
                place = index.datasets[counts.index(0)].place
                raise DataError(f"{folder}: all records of {place} are broken")
            lengths += counts
            variants += [index.variants] * len(counts)
        self.parts = MixedOrder(tuple(lengths))
        self._part_start = np.cumsum([0, *lengths[:-1]])
        self._variants = np.array(variants)
        self._first = np.array(first)  # (R,) the first stored example of every record
        self._rows = np.concatenate([r.reshape(-1, r.shape[-1]) for r in rows])
        stored_texts = [each.reshape(-1, 3) for each in text_rows]
        self._text_rows = np.concatenate(stored_texts) if stored_texts else None
        self._texts = Texts(list(tokens.values()), self.dim)

    def _add_texts(self, shard: CacheShard, tokens: dict[str, np.ndarray]) -> np.ndarray:
        """Take in a shard's texts; its text rows (R, V, 3) by the numbers over all shards."""
        assert shard.text_rows is not None
        assert shard.text_tokens is not None and shard.target_embeds is not None
        pieces = _split(shard.text_tokens, shard.lengths)
        for text, own in zip(shard.texts, pieces, strict=True):
            tokens.setdefault(text, own)
        number = {text: at for at, text in enumerate(tokens)}
        rows = shard.text_rows.astype(np.int64)
        rows[..., 0] = np.array([number[text] for text in shard.texts])[rows[..., 0]]
        rows[..., 2] = self._targets.add(shard.target_embeds, rows[..., 2])
        return rows


class Texts:
    """Holds the tokens of texts in memory."""

    def __init__(self, tokens: Sequence[np.ndarray], dim: int) -> None:
        self.lengths = np.array([len(own) for own in tokens], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        zero = np.zeros((1, dim), dtype=np.float16)  # the last token stands for none
        self.tokens = torch.from_numpy(np.concatenate([*tokens, zero])).float()

    def conditions(self, text: np.ndarray, dropped: np.ndarray) -> Conditions:
        """Gather the tokens of texts, padded to the longest.

        Args:
            text: (N,) the numbers of the texts.
            dropped: (N,) whether a text is dropped: its tokens are zero then, but used.

        Returns:
            Tokens (N, L, D) and the mask (N, L) of those that are used.
        """
        lengths = self.lengths[text]
        place = np.arange(lengths.max())
        used = place < lengths[:, None]
        given = used & ~dropped[:, None]
        at = np.where(given, self.starts[text][:, None] + place, len(self.tokens) - 1)
        tokens = self.tokens.index_select(0, torch.from_numpy(at.ravel()))
        return Conditions(tokens.view(*at.shape, -1), torch.from_numpy(used))


class Table:
    """Rows of many mapped arrays (M, D) as one table, in memory where they are few enough."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.arrays: list[np.ndarray] = []
        self.starts = [0]
        self.zero = np.zeros((1, dim), dtype=np.float16)
        self.whole: Tensor | None = None  # all rows, and a last one of zeros

    def add(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Take in an array.

        Args:
            array: (M, D).
            rows: Rows of the array, in any shape; -1 for none.

        Returns:
            The same rows, counted over all arrays.
        """
        start = self.starts[-1]
        self.arrays.append(array)
        self.starts.append(start + len(array))
        return np.where(rows < 0, -1, rows.astype(np.int64) + start)

    def settle(self, most_bytes: int) -> None:
        """Join the arrays in memory, from which copying rows is many times quicker.

        Args:
            most_bytes: The size above which they stay in their files.
        """
        if self.starts[-1] * self.dim * self.zero.itemsize <= most_bytes:
            self.whole = torch.from_numpy(np.concatenate([*self.arrays, self.zero]))
            self.arrays.clear()

    def gather(self, rows: np.ndarray) -> Tensor:
        """Gather rows.

        Args:
            rows: Their numbers, in any shape (...); below 0 for zeros.

        Returns:
            (..., D) float32.
        """
        flat = rows.ravel()
        if self.whole is not None:
            at = np.where(flat < 0, len(self.whole) - 1, flat)
            found = self.whole.index_select(0, torch.from_numpy(at))
        else:
            found = torch.from_numpy(np.concatenate(self._mapped(flat)))
        return found.float().view(*rows.shape, self.dim)

    def _mapped(self, flat: np.ndarray) -> list[np.ndarray]:
        which = np.searchsorted(self.starts, flat, side="right") - 1
        within = flat - np.take(self.starts, which, mode="clip")
        return [
            self.arrays[array][row : row + 1] if array >= 0 else self.zero
            for array, row in zip(which.tolist(), within.tolist(), strict=True)
        ]


def _split(tokens: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    return np.split(tokens, np.cumsum(lengths)[:-1])


def _shards(folder: Path, index: CacheIndex) -> Iterator[CacheShard]:
    made = made_shards(folder, index)
    if len(made) < index.shards:
        raise DataError(
            f"{folder} is not complete, {index.shards - len(made)} of {index.shards} shards are "
            "missing: run the same pops embed again"
        )
    for number in made:
        yield read_shard(folder, number, index)


def _check(folder: Path, index: CacheIndex, operator: Operator, stats: str) -> None:
    traits = operator_traits(operator)
    for name in traits.__struct_fields__:
        own, wanted = getattr(index.operator, name), getattr(traits, name)
        if own != wanted:
            raise DataError(
                f"{folder} was made with {name.replace('_', ' ')} {own} of the operator, not "
                f"{wanted}: make a new cache with pops embed"
            )
    if index.clip_stats != stats:
        raise DataError(
            f"{folder} was made with another base prior of {index.stack}: "
            "make a new cache with pops embed"
        )
