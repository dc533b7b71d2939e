"""Training on pictures encoded as it goes, as the published code does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pops.data.dataset import BrokenRecords, Drawn, ExampleDataset
from pops.data.encoding import (
    Prepared,
    encode_pixels,
    encode_texts,
    make_batch,
    normalise,
    prepare,
)
from pops.data.source import Batch, Plan
from pops.errors import DataError
from pops.prior.conditions import pack
from pops.stacks.clip import TextEncoding
from pops.stacks.stack import Stack

if TYPE_CHECKING:
    from transformers import CLIPImageProcessorPil

__all__ = ["OnlineSource"]

ENCODED = 32  # pictures in one call of the encoder
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collate:
    """Makes of the drawn examples of a batch what the encoders are to see, in a worker."""

    processor: CLIPImageProcessorPil

    def __call__(self, drawn: Sequence[Drawn]) -> tuple[Prepared | None, tuple[str, ...]]:
        broken = tuple(each for one in drawn for each in one.broken)
        examples = [one.example for one in drawn if one.example is not None]
        if len(examples) < len(drawn):
            return None, broken
        return prepare(self.processor, examples), broken


class OnlineSource:
    """Batches of a dataset, each distinct picture of a batch encoded once.

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

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """A batch for each element of the plan, in order.

        Raises:
            DataError: more records are broken than may be.
        """
        loader = DataLoader(
            self.dataset,
            batch_sampler=plan,  # type: ignore[arg-type]  # keys are pairs
            num_workers=self.workers,
            collate_fn=Collate(self.stack.image_encoder.processor),
            generator=torch.Generator(),  # for its seed: the global one belongs to training
        )
        for prepared, broken in loader:
            for reason in self.broken.add(broken):
                log.warning("skipped: %s", reason)
            if prepared is None:
                raise DataError(f"no record is whole around here; the last: {broken[-1]}")
            yield self._encode(prepared)

    def _encode(self, prepared: Prepared) -> Batch:
        embeds = encode_pixels(self.stack, prepared.pixels, ENCODED)
        table = normalise(embeds, self.stack.clip_stats)
        table = torch.cat([table, torch.zeros(1, table.shape[1])])  # row -1: dropped
        gathered = table[torch.from_numpy(prepared.rows).long()]
        if prepared.words is None:
            return make_batch(gathered)
        drawn = [words.drawn_to for words in prepared.words if words.drawn_to is not None]
        texts = [words.text for words in prepared.words]
        known = encode_texts(self.stack, [*texts, *drawn], ENCODED)
        hidden = [_tokens(known[words.text], words.dropped) for words in prepared.words]
        embedded = torch.stack([known[text].text_embeds for text in drawn]) if drawn else None
        return make_batch(gathered, pack(hidden), embedded)


def _tokens(encoding: TextEncoding, dropped: bool) -> Tensor:
    return torch.zeros_like(encoding.hidden_states) if dropped else encoding.hidden_states
