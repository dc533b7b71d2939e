"""Training on pictures that are encoded as training goes on, as the published code does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pops.data.dataset import BrokenRecords, ExampleDataset, LoadedExample
from pops.data.encoding import (
    Prepared,
    encode_pixels,
    encode_texts,
    make_batch,
    normalise,
    prepare,
)
from pops.data.sources.batches import Batch, BatchIndices
from pops.errors import DataError
from pops.io.machine.processes import end_with_parent
from pops.prior.conditions import pack
from pops.stacks.clip import TextEncoding
from pops.stacks.stack import Stack

if TYPE_CHECKING:
    from pops.stacks.clip import Processor

__all__ = ["OnlineSource"]

ENCODED = 32  # pictures in one call of the encoder
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collate:
    """Prepares the loaded examples of a batch for the encoders, in a worker process."""

    processor: Processor

    def __call__(self, loaded: Sequence[LoadedExample]) -> tuple[Prepared | None, tuple[str, ...]]:
        broken = tuple(reason for one in loaded for reason in one.broken)
        examples = [one.example for one in loaded if one.example is not None]
        if len(examples) < len(loaded):
            return None, broken
        return prepare(self.processor, examples), broken


class OnlineSource:
    """Gives the batches of a dataset; each distinct picture of a batch is encoded once.

    Pictures are opened and prepared by `workers` processes, and encoded by this one. Broken
    records are logged, each once, and kept in `broken`.
    """

    def __init__(self, dataset: ExampleDataset, stack: Stack, workers: int = 0) -> None:
        self.dataset = dataset
        self.stack = stack
        self.workers = workers
        self.broken = BrokenRecords(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, indices: BatchIndices) -> Iterator[Batch]:
        """Give a batch for each element of the indices, in order.

        Args:
            indices: For every batch, the (epoch, index) of its rows.

        Yields:
            The batches.

        Raises:
            DataError: More records are broken than may be.
        """
        loader = DataLoader(
            self.dataset,
            batch_sampler=indices,  # type: ignore[arg-type]  # keys are pairs
            num_workers=self.workers,
            worker_init_fn=end_with_parent,
            collate_fn=Collate(self.stack.image_encoder.processor),
            generator=torch.Generator(),  # the global one belongs to training
        )
        for prepared, broken in loader:
            for reason in self.broken.add(broken):
                log.warning("skipped: %s", reason)
            if prepared is None:
                raise DataError(f"too many records in a row are broken; the last: {broken[-1]}")
            yield self._encode(prepared)

    def _encode(self, prepared: Prepared) -> Batch:
        embeds = encode_pixels(self.stack, prepared.pixels, ENCODED)
        table = normalise(embeds, self.stack.clip_stats)
        table = torch.cat([table, torch.zeros(1, table.shape[1])])  # row -1 is a dropped input
        gathered = table[torch.from_numpy(prepared.rows).long()]
        if prepared.texts is None:
            return make_batch(gathered)
        targets = [texts.target_text for texts in prepared.texts if texts.target_text is not None]
        known = encode_texts(self.stack, [*(t.text for t in prepared.texts), *targets], ENCODED)
        hidden = [_tokens(known[texts.text], texts.dropped) for texts in prepared.texts]
        embedded = torch.stack([known[text].text_embeds for text in targets]) if targets else None
        return make_batch(gathered, pack(hidden), embedded)


def _tokens(encoding: TextEncoding, dropped: bool) -> Tensor:
    return torch.zeros_like(encoding.hidden_states) if dropped else encoding.hidden_states
