"""The tasks of a run: one operator, or several that are learnt jointly, each with its own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pops.data.cache.format import read_index
from pops.data.recipes import Recipe
from pops.data.sources.batches import BatchSource
from pops.data.sources.mixing import JointSource
from pops.data.sources.open import open_source
from pops.errors import UsageError
from pops.io.names import expand_home
from pops.operators import Operator
from pops.settings.flags.parsing import parse
from pops.stacks.spec import STACKS
from pops.stacks.stack import Stack
from pops.training.config import DEFAULT_STACK, TrainConfig

__all__ = ["TrainingTask", "find_tasks", "open_tasks", "open_training", "with_stack"]


@dataclass(frozen=True)
class TrainingTask:
    """An operator that is trained, its recipe, and the settings of its data."""

    config: TrainConfig
    operator: Operator
    recipe: Recipe

    @property
    def is_base(self) -> bool:
        """Whether a base prior is trained, from nothing: its row has no slots."""
        return not self.operator.inputs

    @property
    def text_weight(self) -> float:
        """The weight of the text loss beside the squared error."""
        if not self.config.use_clip_loss:
            return 0.0
        own = self.config.clip_strength
        return self.operator.text_loss if own is None else own

    @property
    def row(self) -> Operator:
        """The operator as it is applied when it is trained."""
        guidance = self.config.guidance
        return self.operator if guidance is None else replace(self.operator, guidance=guidance)


def with_stack(config: TrainConfig) -> TrainConfig:
    """Choose the stack of a run that names none: the one that its caches were made with.

    Args:
        config: The settings of the run.

    Returns:
        The settings with a stack.

    Raises:
        UsageError: The caches are of several stacks, or of one that is known by its folder alone.
        DataError: A cache cannot be read.
    """
    if config.stack is not None:
        return config
    caches = () if config.online else config.cache
    names = dict.fromkeys(read_index(expand_home(cache)).stack for cache in caches)
    if len(names) > 1:
        raise UsageError(
            f"the caches are of several stacks, {' and '.join(names)}: name one of them by --stack"
        )
    name = next(iter(names), DEFAULT_STACK)
    if name not in STACKS:
        raise UsageError(
            f"{caches[0]} was made with the stack {name}: give the folder of that stack by --stack"
        )
    return replace(config, stack=name)


def find_tasks(config: TrainConfig) -> list[TrainingTask]:
    """Find the task of a run, or those of the configs that it joins.

    Args:
        config: The settings of the run.

    Returns:
        One task for each operator.

    Raises:
        UsageError: A config cannot be read, is of another stack, or of an operator that another
            one is of, too.
    """
    config = with_stack(config)
    if not config.joint:
        return [_checked(TrainingTask(config, *config.found()))]
    tasks: dict[str, TrainingTask] = {}
    for path in config.joint:
        own = parse("train", TrainConfig, [f"--config_path={path}"])
        assert own is not None  # only where help was asked for
        if own.joint:
            raise UsageError(f"--joint: {path} has --joint itself: name the configs that it joins")
        own = with_stack(own)
        if own.stack != config.stack:
            raise UsageError(
                f"--joint: {path} is for the stack {own.stack}, not {config.stack}: name one "
                "stack in both"
            )
        task = TrainingTask(replace(own, seed=config.seed), *own.found())
        if task.is_base:
            raise UsageError(
                f"--joint: {path} trains a base prior, which cannot be joined with operators: "
                "leave it out"
            )
        if task.operator.name in tasks:
            raise UsageError(
                f"--joint: two configs train {task.operator.name}: name only one of them"
            )
        tasks[task.operator.name] = task
    return list(tasks.values())


def _checked(task: TrainingTask) -> TrainingTask:
    config = task.config
    for name in ("init_from", "lora_rank", "layers"):
        if task.is_base and getattr(config, name) is not None:
            flag = "training_mode" if name == "layers" else name
            raise UsageError(f"--mode base trains a whole prior from nothing: leave out --{flag}")
    return task


def open_training(task: TrainingTask, stack: Stack) -> BatchSource:
    """Open the caches of a task, or its pictures, which are encoded as training goes on.

    Args:
        task: The task.
        stack: The stack whose encoders are used.

    Returns:
        The source of its examples.

    Raises:
        UsageError: Neither caches nor datasets are given.
        DataError: A dataset or cache is missing, empty, or was made from something else.
    """
    config = task.config
    caches = () if config.online else config.cache
    return open_source(
        task.operator,
        task.recipe,
        stack,
        datasets=() if caches else config.datasets(),
        caches=caches,
        settings=None if caches else config.recipe_settings(),
        seed=config.seed,
        workers=config.workers,
        max_broken_share=config.max_broken_share,
    )


def open_tasks(tasks: Sequence[TrainingTask], stack: Stack) -> BatchSource:
    """Open the examples of one task, or those of all tasks, mixed.

    Args:
        tasks: The tasks.
        stack: The stack whose encoders are used.

    Returns:
        The source.

    Raises:
        UsageError: As `open_training`.
        DataError: As `open_training`.
    """
    sources = [open_training(task, stack) for task in tasks]
    return sources[0] if len(sources) == 1 else JointSource(sources)
