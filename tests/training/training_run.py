"""`pops train` in a process of its own, on a few examples made of random numbers.

Run with the command's own flags. Every step is written to stdout as it is done.
"""

import sys
from collections.abc import Iterator
from unittest.mock import patch

import torch

from pops.data.sources.batches import Batch, BatchIndices
from pops.prior.conditions import Conditions
from pops.settings.flags.parsing import parse, run_command
from pops.training import run as training
from pops.training import tasks
from pops.training.config import TrainConfig

DIM = 32
RECORDS = 12
torch.set_num_threads(1)


class MemorySource:
    """Examples of a made-up operator: the target is the mean of two inputs of random numbers."""

    def __init__(
        self, dim: int = DIM, records: int = RECORDS, text: bool = False, seed: int = 0
    ) -> None:
        self.dim, self.records, self.text, self.seed = dim, records, text, seed

    def __len__(self) -> int:
        return self.records

    def batches(self, indices: BatchIndices) -> Iterator[Batch]:
        for rows in indices:
            tokens = torch.stack([self.tokens(*row) for row in rows])
            target = tokens.mean(1)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
            texts = target.flip(1) if self.text else None
            yield Batch(target, Conditions(tokens, mask), texts)

    def tokens(self, epoch: int, index: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(10**6 * self.seed + 1000 * epoch + index)
        return torch.randn(2, self.dim, generator=generator)


def main(arguments: list[str]) -> int:
    config = parse("train", TrainConfig, arguments)
    with (
        patch.object(tasks, "open_training", lambda *_: MemorySource()),
        patch.object(training, "open_held_out", lambda *_: None),
    ):
        return 0 if config is None else training.train(config)


if __name__ == "__main__":
    sys.exit(run_command("train", None, main))
