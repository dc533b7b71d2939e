"""`pops train`: from settings to an operator folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pops.data.cache.fingerprints import stats_digest
from pops.engine import Engine
from pops.errors import UsageError
from pops.io.files import atomic_path, check_apart, folder_lock, make_folder, new_folder
from pops.io.machine.placement import DTYPES
from pops.io.pictures import save_picture
from pops.operators import OperatorCard
from pops.prior.joint import JointPrior
from pops.stacks.stack import Stack, open_stack
from pops.training.config import TrainConfig
from pops.training.devices import choose_precision, make_accelerator, make_optimiser
from pops.training.loop import Loop
from pops.training.model import Footprint, make_model, trained_parameters
from pops.training.outputs.base_folder import save_base
from pops.training.outputs.curves import draw_panels, training_panels
from pops.training.outputs.metrics import Metrics, MetricsLog, choose_trackers, read_metrics
from pops.training.outputs.operator_folder import save_operators
from pops.training.parts import (
    device_settings,
    loop_settings,
    model_settings,
    optimiser_settings,
    to_plain,
    to_yaml,
)
from pops.training.state import State, latest_checkpoint, read_state, remove_unfinished
from pops.training.tasks import TrainingTask, find_tasks, open_tasks, with_stack
from pops.training.validation.held_out import HeldOut, check_held_out, open_held_out
from pops.training.validation.measure import draw_figure, validate

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["train"]

TEXT_TOKENS = 8  # tokens of an instruction, for the estimate of memory
CURVES = "curves.png"
# Settings that cannot change when a run goes on; "rows" are those of a step.
SAME = ("operator", "stack", "seed", "rows", "training_mode", "lora_rank", "use_ema", "init_from")
SAME_BASE = (*SAME, "base_layers", "base_width", "clip_stats")


def train(config: TrainConfig) -> int:
    """Train, validate, and write the operator folder; with `dry_run`, only say what would be done.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.

    Raises:
        PopsError: The settings, the data or a checkpoint cannot be used, or training diverged.
    """
    config = with_stack(config)
    tasks = find_tasks(config)
    for task in tasks:
        for place in task.config.data_folders:
            check_apart("output_dir", config.output_dir, place, inside=False)
        check_held_out(task)
    trackers = choose_trackers(config.report_to)
    if config.dry_run:
        return _dry_run(config, tasks)
    with new_folder(config.output_dir) as folder:
        accelerator = make_accelerator(device_settings(config), folder, trackers)
        try:
            with _alone(folder, accelerator):
                return Run(config, tasks, accelerator).train()
        finally:
            accelerator.end_training()


def _alone(folder: Path, accelerator: Accelerator) -> AbstractContextManager[None]:
    """Hold the run folder; the main process does so for all."""
    return folder_lock(folder) if accelerator.is_main_process else nullcontext()


def _dry_run(config: TrainConfig, tasks: Sequence[TrainingTask]) -> int:
    stack = _open_stack(config, "cpu", "float32")
    source = open_tasks(tasks, stack)
    model = make_model(model_settings(config, tasks[0].is_base), stack, len(tasks))
    rows = [task.operator for task in tasks]
    precision: str = config.mixed_precision  # a named format may be meant for another machine
    if precision == "auto":
        precision = choose_precision(device_settings(config))
    footprint = Footprint.of(
        model,
        max(len(row.inputs) + TEXT_TOKENS * row.takes_text for row in rows),
        config.train_batch_size,
        use_ema=config.use_ema,
        use_8bit_adam=config.use_8bit_adam,
        gradient_checkpointing=config.gradient_checkpointing,
        half=precision != "no",
    )
    print(to_yaml(config), end="")
    print(f"records: {len(source)}")
    for line in footprint.lines():
        print(line)
    return 0


def _open_stack(config: TrainConfig, device: str, dtype: str) -> Stack:
    assert config.stack is not None
    return open_stack(config.stack, device=device, dtype=dtype, prior=config.pretrained_prior_path)


class Run:
    """A run and its folder: config.yaml, metrics.jsonl, checkpoints, figures and operator."""

    def __init__(
        self, config: TrainConfig, tasks: Sequence[TrainingTask], accelerator: Accelerator
    ) -> None:
        self.config, self.tasks = config, tasks
        self.accelerator = accelerator
        self.folder = config.output_dir
        self.stack = _open_stack(config, "cpu", "float32")  # the stack of the model that is trained
        encoders = _open_stack(config, str(accelerator.device), "auto")
        with accelerator.main_process_first():  # one of several downloads what is missing
            self.source = open_tasks(tasks, encoders)
            started = model_settings(config, tasks[0].is_base)
            self.model = make_model(started, self.stack, len(tasks))
        self.loop = self._loop()
        self.metrics = self._resume()

    @property
    def name(self) -> str:
        """The names of the operators that are trained."""
        return " + ".join(task.operator.name for task in self.tasks)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that cannot change when the run goes on."""
        config = self.config
        rows = config.train_batch_size * config.gradient_accumulation_steps
        own = asdict(config) | {
            "operator": self.name,
            "rows": rows * self.accelerator.num_processes,
            "clip_stats": stats_digest(self.stack.clip_stats),
        }
        return {name: own[name] for name in (SAME_BASE if self.tasks[0].is_base else SAME)}

    def _loop(self) -> Loop:
        config, accelerator, model = self.config, self.accelerator, self.model
        optimiser = make_optimiser(
            optimiser_settings(config),
            list(trained_parameters(model).values()),
            fused=accelerator.device.type == "cuda",
        )
        wrapped, prepared = accelerator.prepare(model, optimiser)
        return Loop(
            settings=loop_settings(config),
            accelerator=accelerator,
            model=wrapped,
            prior=model.prior if isinstance(model, JointPrior) else model,
            schedule=self.stack.schedule,
            source=self.source,
            state=State(
                trained_parameters(model),
                prepared,
                accelerator.scaler,
                config.ema_decay if config.use_ema else None,
            ),
            text_weights=torch.tensor([task.text_weight for task in self.tasks]),
            checkpoints=self.folder / "checkpoints",
            card={"settings": self.settings},
            log=self._log,
            validate=self._validate,
        )

    def _resume(self) -> MetricsLog:
        """Take up the newest checkpoint, where there is one."""
        state, main = self.loop.state, self.accelerator.is_main_process
        if main:
            remove_unfinished(self.loop.checkpoints)
        self.accelerator.wait_for_everyone()
        found = latest_checkpoint(self.loop.checkpoints) or self.config.resume_from_path
        if found is not None:
            _check_same(found, read_state(found).get("settings", {}), self.settings)
            state.load(found)
            self.accelerator.print(f"going on from {found}")
        self.accelerator.wait_for_everyone()
        if main:
            with atomic_path(self.folder / "config.yaml") as part:
                part.write_text(to_yaml(self.config), encoding="utf-8")
        self.accelerator.init_trackers("pops", config=to_plain(self.config))
        return MetricsLog(self.folder / "metrics.jsonl", self.accelerator, state.step)

    @property
    def _result(self) -> str:
        """The name of the folder of what is trained."""
        if self.tasks[0].is_base:
            return "base"
        return "operator" if len(self.tasks) == 1 else "operators"

    def train(self) -> int:
        """Train all steps that are left, and write the operator folder.

        Returns:
            0, or the exit status of the signal that stopped the run.
        """
        parameters = sum(p.numel() for p in self.loop.state.parameters.values())
        self.accelerator.print(
            f"training {self.name} on {self.stack.name}: {parameters:,} parameters, "
            f"{len(self.source)} records, processes: {self.accelerator.num_processes}, "
            f"from step {self.loop.state.step}",
            flush=True,
        )
        status = self.loop.run()
        if status == 0:
            if self.accelerator.is_main_process:
                self._finish()
            self.accelerator.wait_for_everyone()
        return status

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        self.metrics.write(step, values)

    @cached_property
    def held_out(self) -> list[HeldOut | None]:
        """The held-out records of each task, encoded when they are first needed."""
        stack = self._engine().stack
        return [open_held_out(task, stack) for task in self.tasks]

    def _engine(self) -> Engine:
        """Load encoders and decoder anew: between validations they take no memory."""
        return Engine(_open_stack(self.config, str(self.accelerator.device), "auto"))

    def _validate(self, step: int, last: bool = False) -> dict[str, float]:
        """Log the validation metrics, and draw figures where they are due; on the main process."""
        numbers: dict[str, float] = {}
        engine = self._engine()
        with self.loop.state.averaged():
            for number, held_out in enumerate(self.held_out):
                if held_out is not None:
                    numbers |= self._validate_task(engine, number, held_out, step, last)
        if numbers:
            self._log(step, numbers)
        return numbers

    def _validate_task(
        self, engine: Engine, number: int, held_out: HeldOut, step: int, last: bool
    ) -> dict[str, float]:
        """Validate one operator; its metrics by their names in the log."""
        task, alone, model = self.tasks[number], len(self.tasks) == 1, self.model
        prior = model.operator(number) if isinstance(model, JointPrior) else model
        found = validate(engine, task.operator, prior, held_out.records)
        every = self.config.log_image_frequency
        if held_out.shown and (last or (every > 0 and step % every == 0)):
            figure = draw_figure(engine, task.operator, prior, held_out.examples, held_out.shown)
            name = f"step-{step:09d}" if alone else f"{task.operator.name}-{step:09d}"
            save_picture(figure, make_folder(self.folder / "figures") / f"{name}.jpg")
        print(
            f"{task.operator.name} held out, {len(held_out.records.target)} records: "
            f"{_beside_baseline(found)}",
            flush=True,
        )
        prefix = "val" if alone else f"val/{task.operator.name}"
        return {f"{prefix}/{name}": value for name, value in found.items()}

    def _finish(self) -> None:
        """Validate once more, draw the curves, and write the operator folders."""
        step, config = self.loop.state.step, self.config
        log = self.folder / "metrics.jsonl"
        numbers = _validated(read_metrics(log), step) or self._validate(step, last=True)
        folder = make_folder(self.folder / self._result)
        drawn = draw_panels(training_panels(read_metrics(log)), folder / CURVES)
        if self.tasks[0].is_base:
            with self.loop.state.averaged():
                base = save_base(folder, self.model, self.stack.schedule)
            print(f"{base}  (copy what is in it into the folder prior of the stack)", flush=True)
            return
        cards = [
            OperatorCard(task.row, self.stack.name, self._summary(task, step, numbers))
            for task in self.tasks
        ]
        small = "float32" if config.lora_rank is None else "float16"
        with self.loop.state.averaged():
            made = save_operators(
                folder,
                self.model,
                cards,
                [CURVES] if drawn else [],
                lora_rank=config.lora_rank,
                dtype=DTYPES[small if config.save_dtype == "auto" else config.save_dtype],
            )
        for place in made:
            print(f"{place}  (pops apply {place} ...)", flush=True)

    def _summary(
        self, task: TrainingTask, step: int, numbers: Mapping[str, float]
    ) -> dict[str, Any]:
        """Sum up for an operator's card how it was trained and how good it is."""
        settings = self.settings
        made = {name: settings[name] for name in SAME if name not in ("operator", "stack")}
        made |= {"steps": step, "lr": self.config.lr, "records": len(self.source)}
        place = "val/"
        if len(self.tasks) > 1:
            place = f"val/{task.operator.name}/"
            made["trained jointly"] = self.name
        found = {
            name.replace(place, "held-out "): round(value, 4)
            for name, value in numbers.items()
            if name.startswith(place)
        }
        return {name: value for name, value in (made | found).items() if value not in (None, False)}


def _beside_baseline(numbers: Mapping[str, float]) -> str:
    """Say the operator's numbers, and in brackets those of the mean of the inputs."""
    pairs = {
        name: (numbers[name], numbers[f"baseline_{name}"])
        for name in ("cosine", "top1", "mean_rank", "text_cosine")
        if name in numbers
    }
    shown = (f"{name} {own:.4g} ({mean:.4g})" for name, (own, mean) in pairs.items())
    return ", ".join(shown) + "; in brackets: the mean of the inputs"


def _validated(lines: Sequence[Metrics], step: int) -> dict[str, float]:
    """Find the metrics of a validation at that step, where there was one."""
    return {
        name: value
        for line in lines
        if line["step"] == step
        for name, value in line.items()
        if name.startswith("val/")
    }


def _check_same(place: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, value in now.items():
        if was.get(name) != value:
            raise UsageError(
                f"{place} was trained with {name} {was.get(name)}, not {value}: give the same, or "
                "another --output_dir"
            )
