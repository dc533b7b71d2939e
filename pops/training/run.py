"""`pops train`: from settings to an operator folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from pops.data.recipes import Recipe
from pops.engine import Engine
from pops.errors import UsageError
from pops.files import atomic_path, make_folder
from pops.operators import Operator
from pops.pictures import save_picture
from pops.stacks import Stack, open_stack
from pops.training.config import TrainConfig
from pops.training.journal import Journal, Line, choose_trackers, read_journal
from pops.training.loop import Loop
from pops.training.result import draw_curves, save_result
from pops.training.sources import HeldOut, open_held_out, open_training
from pops.training.state import State, latest_checkpoint, read_state
from pops.training.trainee import Footprint, make_trainee, operator_state, trained_parameters
from pops.training.validation import draw_figure, validate

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["train"]

TEXT_TOKENS = 8  # of an instruction, for the estimate of memory
PATIENCE = timedelta(hours=6)  # of processes that wait for the one that validates
CURVES = "curves.png"
# Settings that a run cannot change when it goes on; "rows" are those of a step.
SAME = ("operator", "stack", "seed", "rows", "training_mode", "lora_rank", "use_ema", "init_from")


def train(config: TrainConfig) -> int:
    """Train, validate, and write the operator folder; or, with dry_run, tell what would be done."""
    operator, recipe = config.found()
    trackers = choose_trackers(config.report_to)
    if config.dry_run:
        return _dry_run(config, operator, recipe)
    accelerator = _accelerator(config, trackers)
    try:
        return Run(config, operator, recipe, accelerator).train()
    finally:
        accelerator.end_training()


def _dry_run(config: TrainConfig, operator: Operator, recipe: Recipe) -> int:
    stack = _open_stack(config, "cpu", "float32")
    source = open_training(config, operator, recipe, stack)
    prior = make_trainee(config, stack)
    tokens = len(operator.inputs) + TEXT_TOKENS * operator.takes_text
    print(_yaml(config), end="")
    print(f"records: {len(source)}")
    for line in Footprint.of(prior, config, tokens).lines():
        print(line)
    return 0


def _accelerator(config: TrainConfig, trackers: list[str]) -> Accelerator:
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError as error:
        raise UsageError("training needs accelerate: pip install 'pops[train]'") from error
    if ":" in config.device:
        os.environ.setdefault("ACCELERATE_TORCH_DEVICE", config.device)
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {config.device}, but there is no CUDA device: use auto or cpu")
    torch.backends.cuda.matmul.allow_tf32 = config.allow_tf32
    torch.backends.cudnn.allow_tf32 = config.allow_tf32
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    fast = not on_cpu and torch.cuda.is_bf16_supported()
    automatic = "bf16" if fast else "no"
    precision = automatic if config.mixed_precision == "auto" else config.mixed_precision
    if precision == "fp16" and on_cpu:
        raise UsageError("--mixed_precision fp16 is for GPUs: use bf16 or no on a CPU")
    return Accelerator(
        mixed_precision=precision,
        cpu=on_cpu,
        log_with=trackers or None,
        project_dir=make_folder(config.output_dir),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def _open_stack(config: TrainConfig, device: str, dtype: str) -> Stack:
    return open_stack(config.stack, device=device, dtype=dtype, prior=config.pretrained_prior_path)


class Run:
    """One run and its folder: config.yaml, metrics.jsonl, checkpoints, figures, operator."""

    def __init__(
        self, config: TrainConfig, operator: Operator, recipe: Recipe, accelerator: Accelerator
    ) -> None:
        self.config, self.operator, self.recipe = config, operator, recipe
        self.accelerator = accelerator
        self.folder = config.output_dir
        self.stack = _open_stack(config, "cpu", "float32")  # of what is trained
        encoders = _open_stack(config, str(accelerator.device), "auto")
        with accelerator.main_process_first():  # one of several downloads what is missing
            self.source = open_training(config, operator, recipe, encoders)
            self.prior = make_trainee(config, self.stack)
        self.loop = self._loop()
        self.journal = self._resume()

    @property
    def settings(self) -> dict[str, Any]:
        """What has to be the same when the run goes on."""
        config = self.config
        rows = config.train_batch_size * config.gradient_accumulation_steps
        own = asdict(config) | {
            "operator": self.operator.name,
            "rows": rows * self.accelerator.num_processes,
        }
        return {name: own[name] for name in SAME}

    def _loop(self) -> Loop:
        config, accelerator = self.config, self.accelerator
        optimiser = _optimiser(config, list(trained_parameters(self.prior).values()))
        model, prepared = accelerator.prepare(self.prior, optimiser)
        text_weight = 0.0
        if config.use_clip_loss:
            own = config.clip_strength
            text_weight = self.operator.text_loss if own is None else own
        return Loop(
            config=config,
            accelerator=accelerator,
            model=model,
            prior=self.prior,
            schedule=self.stack.schedule,
            source=self.source,
            state=State(
                trained_parameters(self.prior),
                prepared,
                accelerator.scaler,
                config.ema_decay if config.use_ema else None,
            ),
            text_weight=text_weight,
            checkpoints=self.folder / "checkpoints",
            card={"settings": self.settings},
            tell=self._tell,
            validate=self._validate,
        )

    def _resume(self) -> Journal:
        """Take up the newest checkpoint, where there is one."""
        state, main = self.loop.state, self.accelerator.is_main_process
        found = latest_checkpoint(self.loop.checkpoints) or self.config.resume_from_path
        if found is not None:
            _check_same(found, read_state(found).get("settings", {}), self.settings)
            state.load(found)
            self.accelerator.print(f"going on from {found}")
        self.accelerator.wait_for_everyone()
        if main:
            with atomic_path(self.folder / "config.yaml") as part:
                part.write_text(_yaml(self.config), encoding="utf-8")
        self.accelerator.init_trackers("pops", config=_plain(self.config))
        return Journal(self.folder / "metrics.jsonl", self.accelerator, state.step)

    def train(self) -> int:
        """All steps that are left, and the operator folder: the exit status."""
        parameters = sum(p.numel() for p in self.loop.state.parameters.values())
        self.accelerator.print(
            f"training {self.operator.name} on {self.stack.name}: {parameters:,} parameters, "
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

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        self.journal.write(step, values)

    @cached_property
    def held_out(self) -> HeldOut | None:
        """What is validated on; encoded when first needed."""
        return open_held_out(self.config, self.operator, self.recipe, self._engine().stack)

    def _engine(self) -> Engine:
        """Loads encoders and decoder anew: between validations they take no memory."""
        return Engine(_open_stack(self.config, str(self.accelerator.device), "auto"))

    def _validate(self, step: int, last: bool = False) -> dict[str, float]:
        """Numbers into the journal, and a figure where one is due; on the main process alone."""
        config, held_out = self.config, self.held_out
        if held_out is None:
            return {}
        engine, state = self._engine(), self.loop.state
        with state.averaged():
            numbers = validate(engine, self.operator, self.prior, held_out.records)
            every = config.log_image_frequency
            if held_out.shown and (last or (every > 0 and step % every == 0)):
                figure = draw_figure(
                    engine, self.operator, self.prior, held_out.examples, held_out.shown
                )
                folder = make_folder(self.folder / "figures")
                save_picture(figure, folder / f"step-{step:09d}.jpg")
        self._tell(step, numbers)
        print(
            f"held out, {len(held_out.records.target)} records: {_beside_mean(numbers)}", flush=True
        )
        return numbers

    def _finish(self) -> None:
        """The last validation, the curves, and the operator folder."""
        step = self.loop.state.step
        lines = read_journal(self.folder / "metrics.jsonl")
        numbers = _validated(lines, step) or self._validate(step, last=True)
        folder = make_folder(self.folder / "operator")
        drawn = draw_curves(read_journal(self.folder / "metrics.jsonl"), folder / CURVES)
        told = _training_summary(self.config, self.settings, step, len(self.source), numbers)
        guidance = self.config.guidance
        row = self.operator if guidance is None else replace(self.operator, guidance=guidance)
        with self.loop.state.averaged():
            state = operator_state(self.prior, self.config)
            pictures = [CURVES] if drawn else []
            save_result(folder, self.config, row, self.stack.name, state, told, pictures)
        print(f"{folder}  (pops apply {folder} ...)", flush=True)


def _optimiser(config: TrainConfig, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    kind = _adamw_8bit() if config.use_8bit_adam else torch.optim.AdamW
    optimiser: torch.optim.Optimizer = kind(
        parameters,
        lr=config.lr,
        betas=(config.adam_beta1, config.adam_beta2),
        weight_decay=config.adam_weight_decay,
        eps=config.adam_epsilon,
    )
    return optimiser


def _adamw_8bit() -> Any:
    try:
        return import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise UsageError("--use_8bit_adam needs bitsandbytes: pip install it") from error


def _beside_mean(numbers: Mapping[str, float]) -> str:
    """The operator's numbers, each beside that of the mean of the inputs."""
    pairs = {
        name: (numbers[f"val/{name}"], numbers[f"val/mean_{name}"])
        for name in ("cosine", "top1", "mean_rank", "text_cosine")
        if f"val/{name}" in numbers
    }
    shown = (f"{name} {own:.4g} ({mean:.4g})" for name, (own, mean) in pairs.items())
    return ", ".join(shown) + "; of the mean of the inputs in brackets"


def _validated(lines: Sequence[Line], step: int) -> dict[str, float]:
    """The numbers of a validation at that step, where there was one."""
    return {
        name: value
        for line in lines
        if line["step"] == step
        for name, value in line.items()
        if name.startswith("val/")
    }


def _training_summary(
    config: TrainConfig,
    settings: Mapping[str, Any],
    step: int,
    records: int,
    numbers: Mapping[str, float],
) -> dict[str, Any]:
    """What the operator's card tells of how it was made, and how good it is."""
    made = {name: settings[name] for name in SAME if name not in ("operator", "stack")}
    made |= {"steps": step, "lr": config.lr, "records": records}
    found = {name.replace("val/", "held-out "): round(v, 4) for name, v in numbers.items()}
    return {name: value for name, value in (made | found).items() if value not in (None, False)}


def _check_same(place: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, value in now.items():
        if was.get(name) != value:
            raise UsageError(
                f"{place} was trained with {name} {was.get(name)}, not {value}: give the same, or "
                "another --output_dir"
            )


def _plain(config: TrainConfig) -> dict[str, Any]:
    """The settings as trackers take them."""
    return {k: v if isinstance(v, int | float) else str(v) for k, v in asdict(config).items()}


def _yaml(config: TrainConfig) -> str:
    """The settings as --config_path reads them."""
    values = {
        key: list(value)
        if isinstance(value, tuple)
        else str(value)
        if isinstance(value, Path)
        else value
        for key, value in asdict(config).items()
    }
    return yaml.safe_dump(values, sort_keys=False)
