"""Training from caches of embeddings: no picture is opened and no encoder is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pops.data.cache import CacheIndex, Shard, read_index, read_shard, shard_file
from pops.data.encoding import make_batch
from pops.data.fingerprints import operator_traits, stats_digest
from pops.data.order import Parts
from pops.data.source import Batch, Plan
from pops.errors import DataError
from pops.operators import Operator

__all__ = ["CachedSource"]


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
    ) -> None:
        self.folders = [Path(folder).expanduser() for folder in folders]
        self.indexes = [read_index(folder) for folder in self.folders]
        digest = stats_digest(clip_stats)
        for folder, index in zip(self.folders, self.indexes, strict=True):
            _check(folder, index, operator, digest)
        self.dim = self.indexes[0].dim
        self.broken: list[str] = []
        self._embeds, self._drawn = Table(self.dim), Table(self.dim)
        self._hidden: list[Tensor] = []  # of every distinct text
        self._has_words = operator.takes_text
        self._load()
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
        if not self._has_words:
            return make_batch(gathered)
        hidden = [
            torch.zeros_like(self._hidden[text]) if dropped else self._hidden[text]
            for text, dropped, _ in self._words[examples].tolist()
        ]
        drawn = self._words[examples, 2]
        return make_batch(
            gathered, hidden, self._drawn.gather(drawn) if (drawn >= 0).all() else None
        )

    def _load(self) -> None:
        """Everything but the embeddings themselves into memory."""
        lengths, variants, rows, words, first = [], [], [], [], []
        known: dict[str, int] = {}
        stored = 0
        for folder, index in zip(self.folders, self.indexes, strict=True):
            counts = [0] * len(index.datasets)
            for shard in _shards(folder, index):
                rows.append(self._embeds.add(shard.embeds, shard.rows))
                if shard.words is not None:
                    words.append(self._add_words(shard, known))
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
        self._words = np.concatenate([w.reshape(-1, 3) for w in words]) if words else np.zeros(0)

    def _add_words(self, shard: Shard, known: dict[str, int]) -> np.ndarray:
        """A shard's words (R, V, 3) with its texts and what is drawn to counted over all."""
        assert shard.words is not None and shard.hidden is not None and shard.drawn is not None
        ends = np.cumsum(shard.lengths)
        for text, start, end in zip(shard.texts, ends - shard.lengths, ends, strict=True):
            if text not in known:
                known[text] = len(self._hidden)
                self._hidden.append(torch.from_numpy(shard.hidden[start:end].astype(np.float32)))
        words = shard.words.astype(np.int64)
        words[..., 0] = np.array([known[text] for text in shard.texts])[words[..., 0]]
        words[..., 2] = self._drawn.add(shard.drawn, words[..., 2])
        return words


class Table:
    """Rows of many mapped arrays (M, D) as one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.arrays: list[np.ndarray] = []
        self.ends: list[int] = []

    def add(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Take in an array; `rows` of it, of any shape, as rows of all. Below 0 they stay."""
        start = self.ends[-1] if self.ends else 0
        self.arrays.append(array)
        self.ends.append(start + len(array))
        return np.where(rows < 0, -1, rows.astype(np.int64) + start)

    def gather(self, rows: np.ndarray) -> Tensor:
        """The rows (...) as (..., D) float32; zero where below 0."""
        flat = rows.ravel()
        out = np.zeros((len(flat), self.dim), dtype=np.float16)
        which = np.searchsorted(self.ends, flat, side="right").tolist()
        for place, row in enumerate(flat.tolist()):
            if row >= 0:
                array = self.arrays[which[place]]
                out[place] = array[row - self.ends[which[place]]]  # counted from the end
        return torch.from_numpy(out).float().view(*rows.shape, self.dim)


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
