"""What a run trains: one operator, or several jointly, each with data and settings of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pops.data.mixing import JointSource
from pops.data.recipes import Recipe
from pops.data.batches import BatchSource
from pops.errors import UsageError
from pops.operators import Operator
from pops.settings.parsing import parse
from pops.stacks.stack import Stack
from pops.training.config import TrainConfig
from pops.training.sources import open_training

__all__ = ["Task", "find_tasks", "open_tasks"]


@dataclass(frozen=True)
class Task:
    """An operator to be trained, and the settings of its data."""

    config: TrainConfig
    operator: Operator
    recipe: Recipe

    @property
    def text_weight(self) -> float:
        """Of the text loss, beside the squared error."""
        if not self.config.use_clip_loss:
            return 0.0
        own = self.config.clip_strength
        return self.operator.text_loss if own is None else own

    @property
    def row(self) -> Operator:
        """The operator as it is to be applied."""
        guidance = self.config.guidance
        return self.operator if guidance is None else replace(self.operator, guidance=guidance)


def find_tasks(config: TrainConfig) -> list[Task]:
    """The run's own operator, or those of the configs that it joins.

    Raises:
        UsageError: a config cannot be read, is of another stack, or of an operator that is there.
    """
    if not config.joint:
        return [Task(config, *config.found())]
    tasks: dict[str, Task] = {}
    for path in config.joint:
        own = parse("train", TrainConfig, [f"--config_path={path}"])
        assert own is not None  # only where help was asked for
        if own.joint:
            raise UsageError(f"--joint: {path} joins others itself: name those")
        if own.stack != config.stack:
            raise UsageError(f"--joint: {path} is for {own.stack}, not {config.stack}: --stack")
        task = Task(replace(own, seed=config.seed), *own.found())
        if task.operator.name in tasks:
            raise UsageError(f"--joint: two configs are of {task.operator.name}: name one")
        tasks[task.operator.name] = task
    return list(tasks.values())


def open_tasks(tasks: Sequence[Task], stack: Stack) -> BatchSource:
    """The examples of one task, or of all mixed; the errors are those of `open_training`."""
    sources = [open_training(task.config, task.operator, task.recipe, stack) for task in tasks]
    return sources[0] if len(sources) == 1 else JointSource(sources)
