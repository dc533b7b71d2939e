"""The training loop: the same numbers on any number of processes, and after any interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pops.data.order import row
from pops.errors import PopsError
from pops.io.machine.placement import send
from pops.prior.conditions import Conditions
from pops.prior.model import Prior
from pops.prior.schedule import Schedule
from pops.training.interrupt import Interrupt
from pops.training.state import State, latest_checkpoint, save_checkpoint
from pops.training.step.batch_sampler import BatchSampler, StepNoise, seed_dropout
from pops.training.step.learning_rate import LearningRate
from pops.training.step.loss import Predict, operator_losses

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pops.data.sources.batches import Batch, BatchSource

__all__ = ["Loop", "LoopSettings"]

SKIPPED = "skipped"  # of a step, whether fp16 skipped it; in the means, the share


@dataclass(frozen=True)
class LoopSettings:
    """How long and on how many examples is trained, and how often something is done beside it."""

    steps: int
    batch: int  # examples of one process at a time
    learning_rate: LearningRate
    accumulation: int = 1  # batches of each process in one step
    max_grad_norm: float = 1.0
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 5000
    keep_checkpoints: int = 2
    validate_every: int = 0  # 0: never


@dataclass
class Loop:
    """The loop of one run, with all that it needs."""

    settings: LoopSettings
    accelerator: Accelerator
    model: nn.Module  # the trained model as accelerate wraps it
    prior: Prior  # the prior in it
    schedule: Schedule
    source: BatchSource
    state: State
    text_weights: Tensor  # (operators,) weight of the text loss
    checkpoints: Path  # their folder
    card: dict[str, Any]  # facts of the run that every checkpoint keeps
    log: Callable[[int, Mapping[str, float]], None]  # takes a step and its metrics
    validate: Callable[[int], object]  # called on the main process while the others wait
    _latest: tuple[Batch, StepNoise] | None = field(default=None, init=False)

    @property
    def sampler(self) -> BatchSampler:
        """The rows of this process in every step."""
        settings, accelerator = self.settings, self.accelerator
        return BatchSampler(
            settings.batch,
            settings.accumulation,
            accelerator.process_index,
            accelerator.num_processes,
        )

    def run(self) -> int:
        """Train to the last step.

        Returns:
            0, or the exit status of the signal that stopped the run.

        Raises:
            PopsError: The loss, the gradient, the weights or their average are not finite.
            OutputError: A checkpoint or the metrics cannot be written.
        """
        settings = self.settings
        with Interrupt() as interrupt:
            meter = Meter(self.sampler.total)
            for losses in self.steps():
                meter.add(losses)
                done = self.state.step == settings.steps
                stop = self._agreed(interrupt)
                checkpoint = self._due(settings.checkpoint_every) or done or stop
                validate = self._due(settings.validate_every) and not done and not stop
                if checkpoint or self._due(settings.log_every):
                    self._log(meter)
                if checkpoint or validate:
                    self._check()
                if checkpoint:
                    self._checkpoint()
                if validate:
                    self._validate()
                    meter.restart()
                if stop:
                    return interrupt.exit_status
        return 0

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Take all steps that are left.

        Yields:
            For every step, the losses and the norm of the gradients by name; in fp16, also
            whether the step was skipped, since its gradients were infinite.
        """
        settings, sampler = self.settings, self.sampler
        order = partial(row, settings.seed, length=len(self.source))
        indices = sampler.batches(order, self.state.step, settings.steps)
        batches = iter(self.source.batches(indices))
        while self.state.step < settings.steps:
            yield self._step([next(batches) for _ in range(sampler.accumulation)])

    def _step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        settings, sampler, step = self.settings, self.sampler, self.state.step
        dim, times = self.prior.config.embedding_dim, self.schedule.train_timesteps
        noise = StepNoise.of_step(settings.seed, step, sampler.total, dim, times)
        seed_dropout(settings.seed, step, sampler.rank)
        for group in self.state.optimiser.param_groups:
            group["lr"] = settings.learning_rate.at(step)
        sums: dict[str, Tensor] = {}
        for micro, batch in enumerate(batches):
            last = micro == sampler.accumulation - 1
            self._latest = batch, noise.of_rows(sampler.rows(micro))
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                losses = self._losses(*self._latest)
                loss = torch.stack(list(losses.values())).sum() / sampler.accumulation
                self.accelerator.backward(loss)
            for name, value in losses.items():
                part = value.detach() / sampler.accumulation
                sums[name] = sums[name] + part if name in sums else part
        parameters = self.state.parameters.values()
        norm = self.accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
        self.state.optimiser.step()
        self.state.optimiser.zero_grad(set_to_none=True)
        self.state.advance()
        if self.state.scaler is None:
            return {**sums, "grad_norm": norm}
        # In fp16 the scaler leaves out steps whose gradients are infinite; only accelerate knows.
        skipped = bool(self.state.optimiser.step_was_skipped)  # type: ignore[attr-defined]
        norm = torch.zeros_like(norm) if skipped else norm
        return {**sums, "grad_norm": norm, SKIPPED: torch.tensor(float(skipped))}

    def _losses(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        there = partial(send, device=self.accelerator.device)
        used = batch.text_embeds is not None and self.text_weights.any()
        predict: Predict = self.model
        if batch.conditions.pooled is not None:
            predict = partial(self.model, pooled=there(batch.conditions.pooled))
        weight = self.text_weights[0]
        if batch.operator is not None:
            predict = partial(self.model, operator=there(batch.operator))
            weight = self.text_weights[batch.operator]
        return operator_losses(
            predict,
            self.prior.denormalise,
            self.schedule,
            there(batch.target),
            Conditions(there(batch.conditions.tokens), there(batch.conditions.mask)),
            there(batch.text_embeds) if used else None,  # type: ignore[arg-type]
            there(noise.noise),
            there(noise.t),
            there(weight),
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

    def _agreed(self, interrupt: Interrupt) -> bool:
        """Tell whether any process got a signal: then all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return interrupt.signal > 0
        got = torch.tensor(interrupt.signal, device=self.accelerator.device)
        interrupt.signal = int(self.accelerator.gather(got).max())
        return interrupt.signal > 0

    def _log(self, meter: Meter) -> None:
        """Log the means over the steps since the last line, over all processes."""
        means = meter.means()
        names = [name for name in means if name not in ("grad_norm", SKIPPED)]
        if self.accelerator.num_processes > 1:
            stacked = self.accelerator.reduce(torch.stack([means[n] for n in names]), "mean")
            means |= zip(names, stacked, strict=True)
        values = {name: float(value) for name, value in means.items()}
        loss = sum(values[name] for name in names)
        counted, said = _skipped_steps(values, meter.steps)
        if not math.isfinite(loss) or not math.isfinite(values["grad_norm"]):
            raise self._diverged(f"the loss is {loss}, the gradient's norm {values['grad_norm']}")
        step, steps = self.state.step, self.settings.steps
        rate, speed = self.settings.learning_rate.at(step - 1), meter.speed()
        self.log(step, {"loss": loss, **values, **counted, "lr": rate, "samples_per_s": speed})
        self.accelerator.print(
            f"step {step}/{steps}  loss {loss:.5f}  lr {rate:.2e}  "
            f"gradient {values['grad_norm']:.3f}  {speed:.1f} samples/s{said}",
            flush=True,
        )
        meter.restart()

    def _check(self) -> None:
        """Check the weights after the last update, before anything is made of them.

        They must be finite, and so must the loss that they give on the latest batch: weights can
        be too large to be used and still be finite.
        """
        fault = "the weights are" if not self.state.is_finite() else ""
        if not fault and self._latest is not None:
            with torch.no_grad():
                losses = self._losses(*self._latest)
            finite = torch.stack(list(losses.values())).isfinite().all()
            count = (~finite).float().reshape(1)
            fault = "the loss is" if self.accelerator.reduce(count, "sum") > 0 else ""
        if fault:
            raise self._diverged(f"{fault} not finite after the update")

    def _diverged(self, what: str) -> PopsError:
        """Make the error of a run whose numbers are not finite any more."""
        last = latest_checkpoint(self.checkpoints)
        left = f"{last} is from before" if last else "there is no checkpoint from before"
        return PopsError(
            f"{what} at step {self.state.step}: lower --lr, or use --mixed_precision no; {left}"
        )

    def _checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            kept = self.settings.keep_checkpoints
            save_checkpoint(self.state, self.checkpoints, kept, self.card)
        self.accelerator.wait_for_everyone()

    def _validate(self) -> None:
        if self.accelerator.is_main_process:
            self.validate(self.state.step)
        self.accelerator.wait_for_everyone()


def _skipped_steps(values: dict[str, float], steps: int) -> tuple[dict[str, float], str]:
    """Count the steps that fp16 skipped, for the log and in words.

    Takes their share out of the means, and makes the mean of the gradient's norm that of the
    others, in place.
    """
    if SKIPPED not in values:
        return {}, ""
    skipped = round(values.pop(SKIPPED) * steps)
    values["grad_norm"] *= steps / max(steps - skipped, 1)
    said = f"  {skipped} of {steps} steps skipped: infinite gradients in fp16" if skipped else ""
    return {"skipped_steps": skipped}, said


class Meter:
    """Means over some steps, kept on the device until they are asked for, and their speed."""

    def __init__(self, rows: int) -> None:
        """Start counting.

        Args:
            rows: Examples of one step, over all processes.
        """
        self.rows = rows
        self.restart()

    def restart(self) -> None:
        """Forget all steps, and start the clock again."""
        self.steps, self.sums, self.start = 0, dict[str, Tensor](), time.monotonic()

    def add(self, values: dict[str, Tensor]) -> None:
        """Add the numbers of a step.

        Args:
            values: Scalars by name.
        """
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def means(self) -> dict[str, Tensor]:
        """Give the mean of every number over the steps."""
        return {name: value / self.steps for name, value in self.sums.items()}

    def speed(self) -> float:
        """Compute examples a second; to be read after the means, which wait for the device."""
        return self.rows * self.steps / max(time.monotonic() - self.start, 1e-9)
