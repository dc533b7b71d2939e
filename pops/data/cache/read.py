"""Training from caches of embeddings: no picture is opened and no encoder is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pops.data.cache.fingerprints import operator_traits, stats_digest
from pops.data.cache.format import CacheIndex, Shard, read_index, read_shard, shard_file
from pops.data.encoding import make_batch
from pops.data.order import Parts
from pops.data.source import Batch, Plan
from pops.errors import DataError
from pops.operators import Operator
from pops.prior.conditions import Conditions

__all__ = ["CachedSource"]

IN_MEMORY = 2**31  # bytes of embeddings up to which they are read into memory


class CachedSource:
    """Batches from one or more caches. Each of their datasets is equally likely.

    In every turn a record shows another of its variants, from a start of its own, so that each is
    used once before any is used again.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        clip_stats: dict[str, Tensor],
        operator: Operator,
        seed: int = 0,
        in_memory: int = IN_MEMORY,
    ) -> None:
        self.folders = [Path(folder).expanduser() for folder in folders]
        self.indexes = [read_index(folder) for folder in self.folders]
        digest = stats_digest(clip_stats)
        for folder, index in zip(self.folders, self.indexes, strict=True):
            _check(folder, index, operator, digest)
        self.dim = self.indexes[0].dim
        self.broken: list[str] = []
        self._embeds, self._drawn = Table(self.dim), Table(self.dim)
        self._load()
        for table in (self._embeds, self._drawn):
            table.settle(in_memory)
        starts = np.random.default_rng((seed, 1)).integers(0, 2**31, len(self._first))
        self._starts = starts  # (R,) the variant of every record's first turn

    def __len__(self) -> int:
        return len(self.parts)

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """A batch for each element of the plan, in order."""
        for pairs in plan:
            at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
            yield self._batch(self._examples(at[:, 0], at[:, 1]))

    def _examples(self, epoch: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Which of all stored examples (N,) the rows are."""
        part, record, turn = self.parts.locate(epoch, index)
        record = self._part_start[part] + record
        return self._first[record] + (turn + self._starts[record]) % self._variants[part]

    def _batch(self, examples: np.ndarray) -> Batch:
        gathered = self._embeds.gather(self._rows[examples])
        if self._words is None:
            return make_batch(gathered)
        text, dropped, drawn = self._words[examples].T
        embeds = self._drawn.gather(drawn) if drawn[0] >= 0 else None
        return make_batch(gathered, self._texts.conditions(text, dropped.astype(bool)), embeds)

    def _load(self) -> None:
        """Everything but the embeddings themselves into memory."""
        lengths, variants, rows, words, first = [], [], [], [], []
        hidden: dict[str, np.ndarray] = {}
        stored = 0
        for folder, index in zip(self.folders, self.indexes, strict=True):
            counts = [0] * len(index.datasets)
            for shard in _shards(folder, index):
                rows.append(self._embeds.add(shard.embeds, shard.rows))
                if shard.words is not None:
                    words.append(self._add_words(shard, hidden))
                for ordinal in shard.records:
                    counts[index.part_of(ordinal)[0]] += 1
                    first.append(stored)
                    stored += index.variants
                self.broken += shard.broken.values()
            if 0 in counts:
                place = index.datasets[counts.index(0)]["place"]
                raise DataError(f"{folder}: of {place}, no record is whole")
            lengths += counts
            variants += [index.variants] * len(counts)
        self.parts = Parts(tuple(lengths))
        self._part_start = np.cumsum([0, *lengths[:-1]])
        self._variants = np.array(variants)
        self._first = np.array(first)  # (R,) the first stored example of every record
        self._rows = np.concatenate([r.reshape(-1, r.shape[-1]) for r in rows])
        self._words = np.concatenate([w.reshape(-1, 3) for w in words]) if words else None
        self._texts = Texts(list(hidden.values()), self.dim)

    def _add_words(self, shard: Shard, hidden: dict[str, np.ndarray]) -> np.ndarray:
        """A shard's words (R, V, 3) with its texts and what is drawn to counted over all."""
        assert shard.words is not None and shard.hidden is not None and shard.drawn is not None
        for text, tokens in zip(shard.texts, _split(shard.hidden, shard.lengths), strict=True):
            hidden.setdefault(text, tokens)
        number = {text: at for at, text in enumerate(hidden)}
        words = shard.words.astype(np.int64)
        words[..., 0] = np.array([number[text] for text in shard.texts])[words[..., 0]]
        words[..., 2] = self._drawn.add(shard.drawn, words[..., 2])
        return words


class Texts:
    """The tokens of some texts, in memory."""

    def __init__(self, hidden: Sequence[np.ndarray], dim: int) -> None:
        self.lengths = np.array([len(tokens) for tokens in hidden], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        zero = np.zeros((1, dim), dtype=np.float16)  # the last token: none
        self.tokens = torch.from_numpy(np.concatenate([*hidden, zero])).float()

    def conditions(self, text: np.ndarray, dropped: np.ndarray) -> Conditions:
        """The tokens (N, L, D) of texts (N,), zero where dropped, and which of them are used."""
        lengths = self.lengths[text]
        place = np.arange(lengths.max())
        used = place < lengths[:, None]
        given = used & ~dropped[:, None]
        at = np.where(given, self.starts[text][:, None] + place, len(self.tokens) - 1)
        tokens = self.tokens.index_select(0, torch.from_numpy(at.ravel()))
        return Conditions(tokens.view(*at.shape, -1), torch.from_numpy(used))


class Table:
    """Rows of many mapped arrays (M, D) as one, read into memory where they are few enough."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.arrays: list[np.ndarray] = []
        self.starts = [0]
        self.zero = np.zeros((1, dim), dtype=np.float16)
        self.whole: Tensor | None = None  # all rows, and a last one of zeros

    def add(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Take in an array; `rows` of it, of any shape, as rows of all. Below 0 they stay."""
        start = self.starts[-1]
        self.arrays.append(array)
        self.starts.append(start + len(array))
        return np.where(rows < 0, -1, rows.astype(np.int64) + start)

    def settle(self, most_bytes: int) -> None:
        """To be called when all is taken in: copying rows of one array is many times quicker."""
        if self.starts[-1] * self.dim * self.zero.itemsize <= most_bytes:
            self.whole = torch.from_numpy(np.concatenate([*self.arrays, self.zero]))
            self.arrays.clear()

    def gather(self, rows: np.ndarray) -> Tensor:
        """The rows (...) as (..., D) float32; zero where below 0."""
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


def _shards(folder: Path, index: CacheIndex) -> Iterator[Shard]:
    missing = [n for n in range(index.shards) if not shard_file(folder, "shard", n).exists()]
    if missing:
        raise DataError(
            f"{folder} is not complete, {len(missing)} of {index.shards} shards are missing: "
            "run the same pops embed again"
        )
    for number in range(index.shards):
        yield read_shard(folder, number)


def _check(folder: Path, index: CacheIndex, operator: Operator, stats: str) -> None:
    traits = operator_traits(operator)
    for name, value in traits.items():
        if index.operator.get(name) != value:
            raise DataError(
                f"{folder} was made with {name.replace('_', ' ')} {index.operator.get(name)} of "
                f"the operator, not {value}: make a new cache with pops embed"
            )
    if index.clip_stats != stats:
        raise DataError(
            f"{folder} was made with another base prior of {index.stack}: "
            "make a new cache with pops embed"
        )
