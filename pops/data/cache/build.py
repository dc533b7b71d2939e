"""`pops embed`: every record's variants encoded once, into a cache that training reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pops.data.cache.fingerprints import (
    encoder_digests,
    operator_traits,
    part_traits,
    settings_digest,
    stats_digest,
)
from pops.data.cache.format import (
    CacheIndex,
    Shard,
    read_shard,
    shard_file,
    write_index,
    write_shard,
)
from pops.data.config import EmbedConfig
from pops.data.dataset import BrokenRecords, ExampleDataset
from pops.data.encoding import Prepared, encode_pixels, encode_texts, normalise, prepare
from pops.data.reader import Reader
from pops.errors import DataError, InputError
from pops.io.files import make_folder
from pops.settings.progress import Progress, ProgressBars
from pops.stacks.stack import Stack, open_stack

__all__ = ["embed", "embed_dataset", "make_index"]


def embed(config: EmbedConfig) -> int:
    """Encode what is missing of this part of the work."""
    operator, recipe = config.found()
    dataset = ExampleDataset(
        operator,
        recipe,
        config.datasets(),
        config.recipe_settings(),
        seed=config.seed,
        max_broken_share=config.max_broken_share,
    )
    stack = open_stack(
        config.stack, device=config.device, dtype=config.dtype, offload=config.offload
    )
    index = make_index(dataset, stack, config.variants, config.shard_records)
    folder = make_folder(config.out.expanduser())
    write_index(folder, index)
    with closing(ProgressBars()) as progress:
        broken = embed_dataset(
            folder, index, dataset, stack, config.part, config.batch, config.workers, progress
        )
    left = sum(not shard_file(folder, "shard", n).exists() for n in range(index.shards))
    said = f"{folder}  ({index.records} records, {index.variants} variants each"
    said += f", {len(broken)} broken ones left out" * bool(broken)
    print(f"{said}{f', {left} of {index.shards} shards still to be made' * bool(left)})")
    return 0


def make_index(
    dataset: ExampleDataset, stack: Stack, variants: int, shard_records: int
) -> CacheIndex:
    """What a cache of this dataset is made from."""
    return CacheIndex(
        stack=stack.name,
        encoders=encoder_digests(stack, with_text=dataset.operator.takes_text),
        clip_stats=stats_digest(stack.clip_stats),
        dim=stack.prior_config.embedding_dim,
        operator=operator_traits(dataset.operator),
        recipe=dataset.recipe.name,
        recipe_version=dataset.recipe.version,
        settings=settings_digest(dataset.settings),
        datasets=[part_traits(part) for part in dataset.listed],
        variants=variants,
        seed=dataset.seed,
        shard_records=shard_records,
    )


def embed_dataset(
    folder: Path,
    index: CacheIndex,
    dataset: ExampleDataset,
    stack: Stack,
    part: tuple[int, int] = (0, 1),
    batch: int = 32,
    workers: int = 0,
    progress: Progress | None = None,
) -> BrokenRecords:
    """Make the shards that are missing of one part of the work; all broken records found so far.

    A shard is a pure function of its number, so that parts made anywhere belong together.

    Raises:
        DataError: more records are broken than may be.
    """
    broken = BrokenRecords(dataset)
    made = [n for n in range(index.shards) if shard_file(folder, "shard", n).exists()]
    for number in made:
        broken.add(read_shard(folder, number).broken.values())
    which, of = part
    missing = [number for number in range(which, index.shards, of) if number not in made]
    total = sum(len(index.ordinals(number)) for number in missing)
    done = 0
    for number, results in groupby(
        _prepared(index, dataset, stack, missing, workers),
        key=lambda result: result.ordinal // index.shard_records,
    ):
        builder = ShardBuilder(stack, index, batch)
        for result in results:
            for reason in broken.add(result.broken):
                print(f"skipped: {reason}", file=sys.stderr)
            if result.prepared is None:
                builder.broken[str(result.ordinal)] = result.broken[-1]
            else:
                builder.add(result.ordinal, result.prepared)
            done += 1
            if progress is not None:
                progress("embed", done, total)
        write_shard(folder, number, builder.finish())
    return broken


class ShardBuilder:
    """Gathers the examples of a shard and encodes their distinct pictures, a batch at a time."""

    def __init__(self, stack: Stack, index: CacheIndex, batch: int) -> None:
        self.stack, self.index, self.batch = stack, index, batch
        self.broken: dict[str, str] = {}
        self._records: list[int] = []
        self._rows: list[np.ndarray] = []
        self._words: list[np.ndarray] = []
        self._row_of: dict[bytes, int] = {}
        self._waiting: list[np.ndarray] = []  # pixels that are not encoded yet
        self._embeds: list[np.ndarray] = []
        self._texts: dict[str, int] = {}
        self._drawn_to: dict[str, int] = {}

    def add(self, ordinal: int, prepared: Prepared) -> None:
        """Take in the variants of a record."""
        places = []
        for key, pixels in zip(prepared.keys, prepared.pixels, strict=True):
            if key not in self._row_of:
                self._row_of[key] = len(self._row_of)
                self._waiting.append(pixels)
            places.append(self._row_of[key])
        own = np.array([*places, -1], dtype=np.int32)  # its last is for row -1
        self._rows.append(own[prepared.rows])
        if prepared.words is not None:
            self._words.append(
                np.array(
                    [
                        (
                            _number(self._texts, words.text),
                            words.dropped,
                            _number(self._drawn_to, words.drawn_to),
                        )
                        for words in prepared.words
                    ],
                    dtype=np.int32,
                )
            )
        self._records.append(ordinal)
        while len(self._waiting) >= self.batch:
            self._encode()

    def finish(self) -> Shard:
        """The shard, with what is left encoded."""
        while self._waiting:
            self._encode()
        dim, variants = self.index.dim, self.index.variants
        slots = len(self.index.operator["inputs"])
        shard = Shard(
            self._records,
            np.concatenate([np.zeros((0, dim), np.float16), *self._embeds]),
            np.array(self._rows, dtype=np.int32).reshape(-1, variants, 1 + slots),
            broken=self.broken,
        )
        if self._texts:
            known = encode_texts(self.stack, [*self._texts, *self._drawn_to], self.batch)
            hidden = [known[text].hidden_states for text in self._texts]
            drawn = [known[text].text_embeds[None] for text in self._drawn_to]
            shard.words = np.stack(self._words)
            shard.texts, shard.drawn_to = list(self._texts), list(self._drawn_to)
            shard.lengths = [len(tokens) for tokens in hidden]
            shard.hidden = torch.cat(hidden).half().numpy()
            shard.drawn = torch.cat([torch.zeros(0, dim), *drawn]).half().numpy()
        return shard

    def _encode(self) -> None:
        batch, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
        embeds = encode_pixels(self.stack, np.stack(batch), self.batch)
        half = normalise(embeds, self.stack.clip_stats).half()
        if not half.isfinite().all():
            raise DataError(
                f"the image encoder of {self.stack.name} gives numbers that are not finite: "
                "try --dtype=float32"
            )
        self._embeds.append(half.numpy())


@dataclass(frozen=True)
class Result:
    """A record by its ordinal, prepared for the encoder; None where it is broken, and why."""

    ordinal: int
    prepared: Prepared | None
    broken: tuple[str, ...] = ()


class Variants(Dataset[Result]):
    """All variants of a record, by its ordinal."""

    def __init__(self, index: CacheIndex, dataset: ExampleDataset, stack: Stack) -> None:
        self.index, self.dataset = index, dataset
        self.processor = stack.image_encoder.processor

    def __getitem__(self, ordinal: int) -> Result:
        part, record = self.index.part_of(ordinal)
        reader = Reader(self.dataset.settings)
        try:
            examples = [
                self.dataset.draw(part, record, turn, reader) for turn in range(self.index.variants)
            ]
        except InputError as error:
            return Result(ordinal, None, (*reader.broken, str(error)))
        return Result(ordinal, prepare(self.processor, examples), tuple(reader.broken))


def _prepared(
    index: CacheIndex,
    dataset: ExampleDataset,
    stack: Stack,
    shards: Sequence[int],
    workers: int,
) -> Iterator[Result]:
    """The records of some shards, in order."""
    ordinals = [ordinal for number in shards for ordinal in index.ordinals(number)]
    return iter(
        DataLoader(
            Variants(index, dataset, stack),
            sampler=ordinals,
            batch_size=None,
            num_workers=min(workers, len(ordinals)),
            collate_fn=_as_it_is,
        )
    )


def _as_it_is(result: Any) -> Any:
    return result


def _number(known: dict[str, int], text: str | None) -> int:
    """The number of a text among those known, of which it becomes one; -1 for none."""
    return -1 if text is None else known.setdefault(text, len(known))
