"""The noise schedule of the prior: pure functions over a stack's scheduler_config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from pops.errors import UsageError, WeightsError
from pops.io.formats.schema import Meta, Schema, fit, read_json

__all__ = [
    "Schedule",
    "add_noise",
    "betas",
    "read_schedule",
    "schedule_config",
    "schedule_from_config",
    "timesteps",
]


@dataclass(frozen=True)
class Schedule:
    """The noise that every timestep adds, and the range that x0 is clipped to."""

    betas: Tensor = field(default_factory=lambda: betas())  # (T,) float32
    clip_range: float | None = 5.0  # x0 is clamped to [-clip_range, clip_range]; None: never

    @property
    def train_timesteps(self) -> int:
        """The number of noise levels that training draws from."""
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The share (T,) of the clean embedding's variance that is left at every timestep."""
        return torch.cumprod(1.0 - self.betas, dim=0)

    def alphas_on(self, device: torch.device) -> Tensor:
        """Give `alphas_cumprod` on a device, to which it is copied once.

        Args:
            device: The device.

        Returns:
            A tensor (T,).
        """
        if device not in self._copies:
            self._copies[device] = self.alphas_cumprod.to(device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, Tensor]:
        return {}

    def clip(self, x0: Tensor) -> Tensor:
        """Clamp x0 to the range of the schedule.

        Args:
            x0: Predicted embeddings (N, D), normalised.

        Returns:
            Embeddings (N, D).
        """
        return x0 if self.clip_range is None else x0.clamp(-self.clip_range, self.clip_range)


def betas(train_timesteps: int = 1000) -> Tensor:
    """Compute the squared-cosine schedule, capped at 0.999.

    Nichol and Dhariwal 2021 (arXiv 2102.09672), equation 17, with offset 0.008.

    Args:
        train_timesteps: The number T of timesteps.

    Returns:
        The variance (T,) float32 that each timestep adds.
    """

    def alpha_bar(s: float) -> float:
        return math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2

    n = train_timesteps
    steps = [min(1 - alpha_bar((i + 1) / n) / alpha_bar(i / n), 0.999) for i in range(n)]
    return torch.tensor(steps, dtype=torch.float32)


def timesteps(steps: int, train_timesteps: int = 1000) -> list[int]:
    """Choose the timesteps of a run: round(i * (T - 1) / (steps - 1)), from the noisiest to 0.

    Args:
        steps: The number of steps.
        train_timesteps: The number T of timesteps of the schedule.

    Returns:
        The timesteps, descending.

    Raises:
        UsageError: There are fewer than 1 or more than T steps.
    """
    if not 1 <= steps <= train_timesteps:
        raise UsageError(f"steps must be between 1 and {train_timesteps}, not {steps}")
    last = train_timesteps - 1
    if steps == 1:
        return [last]
    ratio = last / (steps - 1)
    return [round(i * ratio) for i in reversed(range(steps))]


def add_noise(x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """Compute x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise: DDPM (arXiv 2006.11239), equation 4.

    Args:
        x0: Clean embeddings (N, D).
        noise: Standard normal draws (N, D).
        t: Timesteps (N,).
        schedule: The noise schedule.

    Returns:
        Noisy embeddings (N, D).
    """
    a = schedule.alphas_on(x0.device)[t].to(x0.dtype)[:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def schedule_from_config(config: Mapping[str, Any], source: str = "scheduler config") -> Schedule:
    """Read the schedule of an UnCLIPScheduler's config.

    Args:
        config: The fields of the config.
        source: The name of its file, for messages.

    Returns:
        The schedule.

    Raises:
        WeightsError: The config is of another kind of scheduler.
    """
    known = {
        "prediction_type": "sample",
        "beta_schedule": "squaredcos_cap_v2",
        "variance_type": "fixed_small_log",
    }
    for key, wanted in known.items():
        found = config.get(key, "epsilon" if key == "prediction_type" else wanted)
        if found != wanted:
            raise WeightsError(f"{source}: {key} is {found!r}, but only {wanted!r} is supported")
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    found = fit(own, _SchedulerFile, WeightsError, source)
    clip = found.clip_sample_range if found.clip_sample else None
    return Schedule(betas(found.num_train_timesteps), clip)


def schedule_config(schedule: Schedule) -> dict[str, Any]:
    """Give the config of a schedule, as diffusers' UnCLIPScheduler and `read_schedule` read it.

    Args:
        schedule: A squared-cosine schedule.

    Returns:
        The fields of a scheduler_config.json.
    """
    return {
        "_class_name": "UnCLIPScheduler",
        "prediction_type": "sample",
        "beta_schedule": "squaredcos_cap_v2",
        "variance_type": "fixed_small_log",
        "num_train_timesteps": schedule.train_timesteps,
        "clip_sample": schedule.clip_range is not None,
        "clip_sample_range": schedule.clip_range or 1.0,
    }


class _SchedulerFile(Schema):
    """`scheduler_config.json`, as diffusers' UnCLIPScheduler writes it."""

    prediction_type: str
    beta_schedule: str = "squaredcos_cap_v2"
    variance_type: str = "fixed_small_log"
    num_train_timesteps: Annotated[int, Meta(ge=2, le=100_000)] = 1000
    clip_sample: bool = True
    clip_sample_range: Annotated[float, Meta(gt=0, le=1e6)] = 1.0


def read_schedule(folder: Path) -> Schedule:
    """Read the schedule of a stack's `scheduler` folder.

    Args:
        folder: The folder.

    Returns:
        The schedule.

    Raises:
        WeightsError: The file is missing, or is of another kind of scheduler.
    """
    path = folder / "scheduler_config.json"
    return schedule_from_config(read_json(path, dict[str, Any], WeightsError), str(path))
