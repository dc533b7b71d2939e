"""`pops embed`: encodes the variants of every record once, into a cache that training reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pops.data.cache.fingerprints import (
    dataset_traits,
    encoder_digests,
    operator_traits,
    settings_digest,
    stats_digest,
)
from pops.data.cache.format import (
    CacheIndex,
    CacheShard,
    made_shards,
    read_shard,
    write_index,
    write_shard,
)
from pops.data.config import EmbedConfig
from pops.data.dataset import BrokenRecords, ExampleDataset
from pops.data.encoding import Prepared, encode_pixels, encode_texts, halve, normalise, prepare
from pops.data.reader import Reader
from pops.errors import InputError
from pops.io.files import folder_lock
from pops.io.machine.processes import end_with_parent
from pops.io.names import expand_home
from pops.settings.progress import Progress, ProgressBars
from pops.stacks.stack import Stack, open_stack

log = logging.getLogger(__name__)

__all__ = ["MakeShards", "embed", "embed_dataset", "make_index", "make_shards"]

# From the numbers of shards to each of them, in any order.
MakeShards = Callable[[Sequence[int]], Iterable[tuple[int, CacheShard]]]


def embed(config: EmbedConfig, make: MakeShards | None = None) -> int:
    """Encode the records of this part of the work that are missing.

    Args:
        config: The settings of the command.
        make: Makes shards elsewhere; None to make them in this process.

    Returns:
        The exit status.
    """
    operator, recipe = config.found()
    dataset = ExampleDataset(
        operator,
        recipe,
        config.datasets(),
        config.recipe_settings(),
        seed=config.seed,
        max_broken_share=config.max_broken_share,
    )
    folder, (part, parts) = expand_home(config.out), config.part
    with folder_lock(folder, f".lock-{part}-of-{parts}"), closing(ProgressBars()) as progress:
        stack = open_stack(
            config.stack, device=config.device, dtype=config.dtype, offload=config.offload
        )
        index = make_index(dataset, stack, config.variants, config.shard_records)
        write_index(folder, index)
        broken = embed_dataset(
            folder, index, dataset, stack, config.part, config.batch, config.workers, progress, make
        )
    left = index.shards - len(made_shards(folder, index))
    said = f"{folder}  ({index.records} records, {index.variants} variants each"
    said += f", {len(broken)} broken ones left out" * bool(broken)
    print(f"{said}{f', {left} of {index.shards} shards still to be made' * bool(left)})")
    return 0


def make_index(
    dataset: ExampleDataset, stack: Stack, variants: int, shard_records: int
) -> CacheIndex:
    """Describe what a cache of a dataset is made from.

    Args:
        dataset: The dataset.
        stack: The stack whose encoders make the embeddings.
        variants: The number of examples of each record.
        shard_records: The number of records in a shard.

    Returns:
        The index of the cache.
    """
    return CacheIndex(
        stack=stack.name,
        encoders=encoder_digests(stack, with_text=dataset.operator.takes_text),
        clip_stats=stats_digest(stack.clip_stats),
        dim=stack.prior_config.embedding_dim,
        operator=operator_traits(dataset.operator),
        recipe=dataset.recipe.name,
        recipe_version=dataset.recipe.version,
        settings=settings_digest(dataset.settings),
        datasets=[dataset_traits(part) for part in dataset.listed],
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
    make: MakeShards | None = None,
) -> BrokenRecords:
    """Make the shards that are missing of one part of the work.

    A shard is a pure function of its number, so that parts made anywhere belong together.

    Args:
        folder: The folder of the cache.
        index: Its index.
        dataset: The dataset.
        stack: The stack whose encoders make the embeddings.
        part: (number, count): which part of the work, of how many.
        batch: The most pictures in one call of the encoder.
        workers: The number of processes that open pictures.
        progress: Is told of every record, or of every shard where they are made elsewhere.
        make: Makes shards elsewhere; None to make them in this process.

    Returns:
        All broken records that were found so far.

    Raises:
        DataError: More records are broken than may be.
    """
    broken = BrokenRecords(dataset)
    made = made_shards(folder, index)
    for number in made:
        broken.add(read_shard(folder, number, index).broken.values())
    missing = sorted(set(range(part[0], index.shards, part[1])) - set(made))
    own = index, dataset, stack, batch, workers, broken, progress
    shards = make_shards(missing, *own) if make is None else make(missing)
    for done, (number, shard) in enumerate(shards, 1):
        for reason in broken.add(shard.broken.values()):  # found by other processes
            log.warning("skipped: %s", reason)
        write_shard(folder, number, shard)
        if make is not None and progress is not None:
            progress("embed", done, len(missing))
    return broken


def make_shards(
    numbers: Sequence[int],
    index: CacheIndex,
    dataset: ExampleDataset,
    stack: Stack,
    batch: int,
    workers: int,
    broken: BrokenRecords,
    progress: Progress | None = None,
) -> Iterator[tuple[int, CacheShard]]:
    """Make shards in this process.

    Args:
        numbers: Their numbers.
        index: The index of the cache.
        dataset: The dataset.
        stack: The stack whose encoders make the embeddings.
        batch: The most pictures in one call of the encoder.
        workers: The number of processes that open pictures.
        broken: Gathers the broken records.
        progress: Is told of every record.

    Yields:
        The number of each shard, and the shard, in order.

    Raises:
        DataError: More records are broken than may be.
    """
    total = sum(len(index.ordinals(number)) for number in numbers)
    done = 0
    for number, results in groupby(
        _prepared(index, dataset, stack, numbers, workers),
        key=lambda result: result.ordinal // index.shard_records,
    ):
        builder = ShardBuilder(stack, index, batch)
        for result in results:
            for reason in broken.add(result.broken):
                log.warning("skipped: %s", reason)
            if result.prepared is None:
                builder.broken[str(result.ordinal)] = result.broken[-1]
            else:
                builder.add(result.ordinal, result.prepared)
            done += 1
            if progress is not None:
                progress("embed", done, total)
        yield number, builder.finish()


class ShardBuilder:
    """Gathers the examples of a shard and encodes their distinct pictures, a batch at a time."""

    def __init__(self, stack: Stack, index: CacheIndex, batch: int) -> None:
        self.stack, self.index, self.batch = stack, index, batch
        self.broken: dict[str, str] = {}
        self._records: list[int] = []
        self._rows: list[np.ndarray] = []
        self._text_rows: list[list[tuple[int, int, int]]] = []
        self._row_of: dict[bytes, int] = {}
        self._waiting: list[np.ndarray] = []  # pixels that are not encoded yet
        self._embeds: list[np.ndarray] = []
        self._texts: dict[str, int] = {}
        self._target_texts: dict[str, int] = {}

    def add(self, ordinal: int, prepared: Prepared) -> None:
        """Take in the variants of a record.

        Args:
            ordinal: The number of the record.
            prepared: Its variants.
        """
        places = []
        for key, pixels in zip(prepared.keys, prepared.pixels, strict=True):
            if key not in self._row_of:
                self._row_of[key] = len(self._row_of)
                self._waiting.append(pixels)
            places.append(self._row_of[key])
        own = np.array([*places, -1], dtype=np.int32)  # row -1, a dropped input, stays -1
        self._rows.append(own[prepared.rows])
        if prepared.texts is not None:
            self._text_rows.append(
                [
                    (
                        _number(self._texts, texts.text),
                        texts.dropped,
                        _number(self._target_texts, texts.target_text),
                    )
                    for texts in prepared.texts
                ]
            )
        self._records.append(ordinal)
        while len(self._waiting) >= self.batch:
            self._encode()

    def finish(self) -> CacheShard:
        """Encode the pictures that are left, and give the shard."""
        while self._waiting:
            self._encode()
        dim, variants = self.index.dim, self.index.variants
        slots = len(self.index.operator.inputs)
        shard = CacheShard(
            self._records,
            np.concatenate([np.zeros((0, dim), np.float16), *self._embeds]),
            np.array(self._rows, dtype=np.int32).reshape(-1, variants, 1 + slots),
            broken=self.broken,
        )
        if self._texts:
            known = encode_texts(self.stack, [*self._texts, *self._target_texts], self.batch)
            tokens = [known[text].hidden_states for text in self._texts]
            targets = [known[text].text_embeds[None] for text in self._target_texts]
            shard.text_rows = np.array(self._text_rows, dtype=np.int32)
            shard.texts, shard.target_texts = list(self._texts), list(self._target_texts)
            shard.lengths = [len(own) for own in tokens]
            shard.text_tokens = halve(torch.cat(tokens), self.stack, "text")
            targets = [torch.zeros(0, dim), *targets]
            shard.target_embeds = halve(torch.cat(targets), self.stack, "text")
        return shard

    def _encode(self) -> None:
        batch, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
        embeds = encode_pixels(self.stack, np.stack(batch), self.batch)
        self._embeds.append(halve(normalise(embeds, self.stack.clip_stats), self.stack, "image"))


@dataclass(frozen=True)
class PreparedRecord:
    """A record that is prepared for the encoder; or None and the reason, where it is broken."""

    ordinal: int
    prepared: Prepared | None
    broken: tuple[str, ...] = ()


class Variants(Dataset[PreparedRecord]):
    """All variants of a record, by its number over all datasets."""

    def __init__(self, index: CacheIndex, dataset: ExampleDataset, stack: Stack) -> None:
        self.index, self.dataset = index, dataset
        self.processor = stack.image_encoder.processor

    def __getitem__(self, ordinal: int) -> PreparedRecord:
        part, record = self.index.part_of(ordinal)
        reader = Reader(self.dataset.settings)
        try:
            examples = [
                self.dataset.load(part, record, turn, reader) for turn in range(self.index.variants)
            ]
        except InputError as error:
            return PreparedRecord(ordinal, None, (*reader.broken, str(error)))
        return PreparedRecord(ordinal, prepare(self.processor, examples), tuple(reader.broken))


def _prepared(
    index: CacheIndex,
    dataset: ExampleDataset,
    stack: Stack,
    shards: Sequence[int],
    workers: int,
) -> Iterator[PreparedRecord]:
    """Prepare the records of some shards, in order."""
    ordinals = [ordinal for number in shards for ordinal in index.ordinals(number)]
    return iter(
        DataLoader(
            Variants(index, dataset, stack),
            sampler=ordinals,
            batch_size=None,
            num_workers=min(workers, len(ordinals)),
            collate_fn=_as_it_is,
            worker_init_fn=end_with_parent,
        )
    )


def _as_it_is(result: Any) -> Any:
    return result


def _number(known: dict[str, int], text: str | None) -> int:
    """Number a text; a new one gets the next number, and None is -1."""
    return -1 if text is None else known.setdefault(text, len(known))
