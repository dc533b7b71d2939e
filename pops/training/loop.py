"""The training loop: the same numbers on any number of processes, and after any interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pops.data.order import row
from pops.errors import PopsError
from pops.prior.conditions import Conditions
from pops.prior.model import Prior
from pops.prior.schedule import Schedule
from pops.training.config import TrainConfig
from pops.training.batch_sampler import BatchSampler, StepNoise, seed_dropout
from pops.training.interrupt import Interrupt
from pops.training.loss import Predict, operator_losses
from pops.training.state import State, save_checkpoint

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pops.data.batches import Batch, BatchSource

__all__ = ["Loop", "learning_rate"]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of step number `step`, the first being 0."""
    rise = min(1.0, (step + 1) / (config.lr_warmup_steps + 1))
    length = max(1, config.max_train_steps - config.lr_warmup_steps)
    done = min(1.0, max(0, step - config.lr_warmup_steps) / length)
    falls = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return config.lr * rise * falls.get(config.lr_scheduler, 1.0)


@dataclass
class Loop:
    """One run. `validate(step)` is called on the main process while the others wait."""

    config: TrainConfig
    accelerator: Accelerator
    model: nn.Module  # the prior as accelerate wraps it
    prior: Prior
    schedule: Schedule
    source: BatchSource
    state: State
    text_weights: Tensor  # (operators,) of the text loss
    checkpoints: Path
    card: dict[str, Any]  # what every checkpoint tells of the run
    tell: Callable[[int, Mapping[str, float]], None]  # a step and its numbers, for the journal
    validate: Callable[[int], object]

    @property
    def deal(self) -> BatchSampler:
        config, accelerator = self.config, self.accelerator
        return BatchSampler(
            config.train_batch_size,
            config.gradient_accumulation_steps,
            accelerator.process_index,
            accelerator.num_processes,
        )

    def run(self) -> int:
        """Train to the last step: 0, or the exit status of the signal that stopped it."""
        with Interrupt() as interrupt:
            meter = Meter(self.deal.total)
            for losses in self.steps():
                meter.add(losses)
                done = self.state.step == self.config.max_train_steps
                stop = self._agreed(interrupt)
                checkpoint = self._due(self.config.checkpointing_steps) or done or stop
                if checkpoint or self._due(self.config.log_every):
                    self._log(meter)
                if checkpoint:
                    self._checkpoint()
                if self._due(self.config.log_validation) and not done and not stop:
                    self._validate()
                    meter.restart()
                if stop:
                    return interrupt.exit_status
        return 0

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Take all steps that are left; of each, the losses and the gradients' norm."""
        config, deal = self.config, self.deal
        order = partial(row, config.seed, length=len(self.source))
        plan = deal.plan(order, self.state.step, config.max_train_steps)
        batches = iter(self.source.batches(plan))
        while self.state.step < config.max_train_steps:
            yield self._step([next(batches) for _ in range(deal.accumulation)])

    def _step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        config, deal, step = self.config, self.deal, self.state.step
        dim, times = self.prior.config.embedding_dim, self.schedule.train_timesteps
        draws = StepNoise.of_step(config.seed, step, deal.total, dim, times)
        seed_dropout(config.seed, step, deal.rank)
        for group in self.state.optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        sums: dict[str, Tensor] = {}
        for micro, batch in enumerate(batches):
            last = micro == deal.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                losses = self._losses(batch, draws.of_rows(deal.rows(micro)))
                loss = torch.stack(list(losses.values())).sum() / deal.accumulation
                self.accelerator.backward(loss)
            for name, value in losses.items():
                part = value.detach() / deal.accumulation
                sums[name] = sums[name] + part if name in sums else part
        parameters = self.state.parameters.values()
        norm = self.accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
        self.state.optimiser.step()
        self.state.optimiser.zero_grad(set_to_none=True)
        self.state.follow()
        return {**sums, "grad_norm": norm}

    def _losses(self, batch: Batch, draws: StepNoise) -> dict[str, Tensor]:
        place = self.accelerator.device
        drawn = batch.text_embeds is not None and self.text_weights.any()
        texts = batch.text_embeds.to(place) if drawn else None  # type: ignore[union-attr]
        predict: Predict = self.model
        weight = self.text_weights[0]
        if batch.operator is not None:
            predict = partial(self.model, operator=batch.operator.to(place))
            weight = self.text_weights[batch.operator]
        return operator_losses(
            predict,
            self.prior.denormalise,
            self.schedule,
            batch.target.to(place),
            Conditions(batch.conditions.tokens.to(place), batch.conditions.mask.to(place)),
            texts,
            draws.noise.to(place),
            draws.t.to(place),
            weight.to(place),
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

    def _agreed(self, interrupt: Interrupt) -> bool:
        """Whether any process was told to stop: then all do, after the same step."""
        if self.accelerator.num_processes == 1:
            return interrupt.signal > 0
        told = torch.tensor(interrupt.signal, device=self.accelerator.device)
        interrupt.signal = int(self.accelerator.gather(told).max())
        return interrupt.signal > 0

    def _log(self, meter: Meter) -> None:
        """A line of means over the steps since the last one, over all processes."""
        means = meter.means()
        names = [name for name in means if name != "grad_norm"]
        if self.accelerator.num_processes > 1:
            stacked = self.accelerator.reduce(torch.stack([means[n] for n in names]), "mean")
            means |= zip(names, stacked, strict=True)
        values = {name: float(value) for name, value in means.items()}
        loss = sum(values[name] for name in names)
        if not math.isfinite(loss):
            raise PopsError(
                f"the loss is {loss} at step {self.state.step}: lower --lr, or use "
                "--mixed_precision no; the last checkpoint is from before"
            )
        rate = learning_rate(self.config, self.state.step - 1)
        told = {"loss": loss, **values, "lr": rate, "samples_per_s": meter.speed()}
        self.tell(self.state.step, told)
        self.accelerator.print(
            f"step {self.state.step}/{self.config.max_train_steps}  loss {loss:.5f}  "
            f"lr {rate:.2e}  gradient {values['grad_norm']:.3f}  "
            f"{told['samples_per_s']:.1f} samples/s",
            flush=True,
        )
        meter.restart()

    def _checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.state, self.checkpoints, self.config.keep_checkpoints, self.card)
        self.accelerator.wait_for_everyone()

    def _validate(self) -> None:
        if self.accelerator.is_main_process:
            self.validate(self.state.step)
        self.accelerator.wait_for_everyone()


class Meter:
    """Means over some steps, kept on the device until they are asked for, and their speed."""

    def __init__(self, rows: int) -> None:
        """`rows`: examples of one step, over all processes."""
        self.rows = rows
        self.restart()

    def restart(self) -> None:
        self.steps, self.sums, self.start = 0, dict[str, Tensor](), time.monotonic()

    def add(self, values: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def means(self) -> dict[str, Tensor]:
        return {name: value / self.steps for name, value in self.sums.items()}

    def speed(self) -> float:
        """Examples a second; read after the means, which wait for the device."""
        return self.rows * self.steps / max(time.monotonic() - self.start, 1e-9)
