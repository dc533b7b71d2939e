"""The data of a run: its training source, and what it is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pops.data.dataset import ExampleDataset
from pops.data.online import OnlineSource
from pops.data.open_source import open_source
from pops.data.recipes import Example, Recipe
from pops.data.batches import Batch, BatchSource
from pops.operators import Operator
from pops.stacks.stack import Stack
from pops.training.config import TrainConfig

__all__ = ["HeldOut", "check_held_out", "open_held_out", "open_training"]


@dataclass(frozen=True)
class HeldOut:
    """Records encoded once, nothing dropped; and those of the figure, with their pictures."""

    records: Batch
    examples: Sequence[Example]
    shown: Batch | None  # the examples, encoded


def open_training(config: TrainConfig, operator: Operator, recipe: Recipe, stack: Stack) -> BatchSource:
    """The caches that are named, or else the pictures, encoded by `stack` as training goes on.

    Raises:
        UsageError: neither caches nor datasets.
        DataError: a dataset or cache is missing, empty, or was made of something else.
    """
    caches = () if config.online else config.cache
    return open_source(
        operator,
        recipe,
        stack,
        datasets=() if caches else config.datasets(),
        caches=caches,
        settings=None if caches else config.recipe_settings(),
        seed=config.seed,
        workers=config.workers,
        max_broken_share=config.max_broken_share,
    )


def check_held_out(config: TrainConfig, operator: Operator, recipe: Recipe) -> None:
    """DataError before anything is trained, where val_dataset_path cannot be validated on."""
    if config.val_dataset_path:
        _nothing_dropped(config, operator, recipe)


def open_held_out(
    config: TrainConfig, operator: Operator, recipe: Recipe, stack: Stack
) -> HeldOut | None:
    """Records spread evenly over val_dataset_path, which lists like things together; or None.

    The figure takes its textures from textures_dir, where that is given, as the published one does.
    """
    if not config.val_dataset_path:
        return None
    plain = replace(config, randoms_dir=None, textures_dir=None)
    dataset = _nothing_dropped(plain, operator, recipe)
    shown = _nothing_dropped(replace(config, randoms_dir=None), operator, recipe)
    pictures = _spread(config.n_val_images, len(shown))
    return HeldOut(
        _encoded(dataset, stack, _spread(config.n_val_records, len(dataset))),
        [shown.example(0, index) for index in pictures],
        _encoded(shown, stack, pictures) if pictures else None,
    )


def _spread(count: int, length: int) -> list[int]:
    """`count` of `length` records, or all."""
    count = min(count, length)
    return [length * i // count for i in range(count)]


def _nothing_dropped(config: TrainConfig, operator: Operator, recipe: Recipe) -> ExampleDataset:
    return ExampleDataset(
        replace(operator, drop_each=0.0, drop_all=0.0),
        recipe,
        config.val_dataset_path,
        config.recipe_settings(),
        seed=config.seed,
        max_broken_share=config.max_broken_share,
    )


def _encoded(dataset: ExampleDataset, stack: Stack, indices: Sequence[int]) -> Batch:
    """These records in one batch."""
    rows = [[(0, index) for index in indices]]
    return next(OnlineSource(dataset, stack).batches(rows))
