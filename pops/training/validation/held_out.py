"""The held-out records that a run is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pops.data.config import DataConfig
from pops.data.dataset import ExampleDataset
from pops.data.recipes import Example
from pops.data.sources.batches import Batch
from pops.data.sources.online import OnlineSource
from pops.errors import DataError
from pops.stacks.stack import Stack
from pops.training.tasks import TrainingTask

__all__ = ["HeldOut", "check_held_out", "open_held_out"]


@dataclass(frozen=True)
class HeldOut:
    """Held-out records, encoded once with nothing dropped, and the pictures of the figure."""

    records: Batch
    examples: Sequence[Example]  # of the figure
    shown: Batch | None  # the examples, encoded


def check_held_out(task: TrainingTask) -> None:
    """Check before anything is trained that a task's held-out records can be read.

    Args:
        task: The task.

    Raises:
        DataError: A folder of --val_dataset_path holds no records of this kind.
    """
    if task.config.val_dataset_path:
        _nothing_dropped(task, task.config)


def open_held_out(task: TrainingTask, stack: Stack) -> HeldOut | None:
    """Encode the held-out records of a task.

    They are spread evenly over --val_dataset_path, in which neighbours are alike. The figure takes
    its textures from --textures_dir, where that is given, as the published one does.

    Args:
        task: The task.
        stack: The stack whose encoders are used.

    Returns:
        The records; None where no folder of them is given.

    Raises:
        DataError: The records cannot be read.
    """
    config = task.config
    if not config.val_dataset_path:
        return None
    plain = replace(config, randoms_dir=None, textures_dir=None)
    dataset = _nothing_dropped(task, plain)
    shown = _nothing_dropped(task, replace(config, randoms_dir=None))
    pictures = _spread(config.n_val_images, len(shown))
    return HeldOut(
        _encoded(dataset, stack, _spread(config.n_val_records, len(dataset))),
        [shown.example(0, index) for index in pictures],
        _encoded(shown, stack, pictures) if pictures else None,
    )


def _spread(count: int, length: int) -> list[int]:
    """Choose `count` of `length` records at even distances, or all of them."""
    count = min(count, length)
    return [length * i // count for i in range(count)]


def _nothing_dropped(task: TrainingTask, data: DataConfig) -> ExampleDataset:
    try:
        return ExampleDataset(
            replace(task.operator, drop_each=0.0, drop_all=0.0),
            task.recipe,
            task.config.val_dataset_path,
            data.recipe_settings(),
            seed=task.config.seed,
            max_broken_share=data.max_broken_share,
        )
    except DataError as error:
        raise DataError(f"--val_dataset_path: {error}") from error


def _encoded(dataset: ExampleDataset, stack: Stack, indices: Sequence[int]) -> Batch:
    """Encode these records in one batch."""
    rows = [[(0, index) for index in indices]]
    return next(OnlineSource(dataset, stack).batches(rows))
