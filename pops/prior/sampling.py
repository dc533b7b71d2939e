"""Guidance and samplers: pure functions over one contract, `(x_t, t) -> x_0`.

A sampler never draws noise itself. It is handed `noise`, which gives one (N, D) draw per call:
the start first, then one draw for every step but the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

import torch
from torch import Tensor

from pops.errors import check_known
from pops.prior.schedule import Schedule, timesteps
from pops.settings.sampling import SAMPLERS, SamplingSettings

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "Noise",
    "OnStep",
    "Sampler",
    "find_sampler",
    "guide",
    "posterior",
    "sample_ancestral",
    "sample_ddim",
    "seeded_noise",
]

Denoiser = Callable[[Tensor, int], Tensor]  # (x_t (N, D), t) -> x_0 (N, D)
Noise = Callable[[], Tensor]  # () -> (N, D), standard normal
OnStep = Callable[[int, int], None]  # (steps done, steps in all)
Sampler = Callable[[Denoiser, Noise, Schedule, int, OnStep | None], Tensor]


def guide(denoise: Denoiser, scale: float) -> Denoiser:
    """Add classifier-free guidance on x0 to a denoiser (arXiv 2207.12598).

    Both branches are one call.

    Args:
        denoise: A denoiser of 2N rows, the unconditional ones first; with a scale of 1 or less, the
            conditional denoiser of N rows.
        scale: The scale of guidance.

    Returns:
        A denoiser of N rows; with a scale of 1 or less, `denoise` itself.
    """
    if scale <= 1.0:
        return denoise

    def guided(x: Tensor, t: int) -> Tensor:
        uncond, cond = denoise(torch.cat([x, x]), t).chunk(2)
        return uncond + scale * (cond - uncond)

    return guided


def seeded_noise(
    seeds: Sequence[int], dim: int, device: torch.device | str = "cpu", ahead: int = 1
) -> Noise:
    """Make standard normal draws, each row from a generator of its own seed.

    Rows with equal seeds are equal. Drawn on the CPU in float32, so that a seed means the same
    on every device, in every dtype and in every batch.

    Args:
        seeds: The seed of every row.
        dim: The length of a row.
        device: Where the draws are needed.
        ahead: How many draws are made and copied to the device together: one copy for all of
            them, which the host waits for, in place of one each. The numbers are the same.

    Returns:
        The function that gives the next draw (len(seeds), dim).
    """
    distinct = list(dict.fromkeys(seeds))
    generators = [torch.Generator().manual_seed(seed) for seed in distinct]
    rows = torch.tensor([distinct.index(seed) for seed in seeds], dtype=torch.long)
    ready: list[Tensor] = []

    def draw() -> Tensor:
        if not ready:
            drawn = torch.empty(ahead, len(distinct), dim)
            for step in drawn:
                for row, generator in zip(step, generators, strict=True):
                    row.normal_(generator=generator)
            ready.extend(drawn[:, rows].to(device).unbind(0))
        return ready.pop(0)

    return draw


def _pairs(schedule: Schedule, steps: int) -> Iterator[tuple[int, int]]:
    """Iterate over every step's t and the timestep after it; -1 stands for the clean embedding."""
    ts = timesteps(steps, schedule.train_timesteps)
    yield from zip(ts, [*ts[1:], -1], strict=True)


def _alpha_bar(schedule: Schedule, t: int) -> Tensor:
    return schedule.alphas_cumprod[t] if t >= 0 else torch.tensor(1.0)


def posterior(schedule: Schedule, t: int, previous: int) -> tuple[float, float, float]:
    """Compute the distribution q(x_previous | x_t, x0): DDPM (arXiv 2006.11239), equations 6 and 7.

    All numbers are in float32 and, for neighbouring timesteps, from the schedule's own beta: at
    t = 0 that rounds the weight of x0 to 0.9995, not 1, and the published operators' outputs have
    it so.

    Args:
        schedule: The noise schedule.
        t: The timestep of x_t.
        previous: The timestep of x_previous; -1 for the clean embedding.

    Returns:
        The weight of x0, the weight of x_t, and the standard deviation.
    """
    a_t, a_previous = _alpha_bar(schedule, t), _alpha_bar(schedule, previous)
    beta = schedule.betas[t] if previous == t - 1 else 1 - a_t / a_previous
    weight_x0 = a_previous.sqrt() * beta / (1 - a_t)
    weight_xt = (1 - beta).sqrt() * (1 - a_previous) / (1 - a_t)
    variance = (beta * (1 - a_previous) / (1 - a_t)).clamp(min=1e-20)
    return weight_x0.item(), weight_xt.item(), variance.sqrt().item()


def sample_ancestral(
    denoise: Denoiser,
    noise: Noise,
    schedule: Schedule,
    steps: int = SamplingSettings.steps,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample with noise at every step but the last, as the published operators are (UnCLIP).

    Args:
        denoise: The denoiser.
        noise: Gives one draw (N, D) a call: the start, then one for every step but the last.
        schedule: The noise schedule.
        steps: The number of steps.
        on_step: Called with the steps that are done and all steps.

    Returns:
        x0 (N, D), normalised.
    """
    x = noise()
    for done, (t, previous) in enumerate(_pairs(schedule, steps), start=1):
        x0 = schedule.clip(denoise(x, t))
        weight_x0, weight_xt, deviation = posterior(schedule, t, previous)
        x = weight_x0 * x0 + weight_xt * x
        if done < steps:
            x = x + deviation * noise()
        if on_step is not None:
            on_step(done, steps)
    return x


def sample_ddim(
    denoise: Denoiser,
    noise: Noise,
    schedule: Schedule,
    steps: int = SamplingSettings.steps,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample without noise after the start: DDIM (arXiv 2010.02502), equation 12 with sigma 0.

    Args:
        denoise: The denoiser.
        noise: Gives the start (N, D); it is called once.
        schedule: The noise schedule.
        steps: The number of steps.
        on_step: Called with the steps that are done and all steps.

    Returns:
        x0 (N, D), normalised.
    """
    x = noise()
    for done, (t, previous) in enumerate(_pairs(schedule, steps), start=1):
        x0 = schedule.clip(denoise(x, t))
        a_t = _alpha_bar(schedule, t).item()
        a_previous = _alpha_bar(schedule, previous).item()
        epsilon = (x - a_t**0.5 * x0) / (1 - a_t) ** 0.5
        x = a_previous**0.5 * x0 + (1 - a_previous) ** 0.5 * epsilon
        if on_step is not None:
            on_step(done, steps)
    return x


def find_sampler(name: str) -> Sampler:
    """Find a sampler by name.

    Args:
        name: the name of a row of `SAMPLERS`.

    Returns:
        The function of that row.

    Raises:
        UsageError: the name is unknown; the error suggests the nearest.
    """
    check_known("sampler", name, SAMPLERS)
    row = SAMPLERS[name]
    if not isinstance(row, str):
        return row
    module, function = row.split(":")
    found: Sampler = getattr(import_module(module), function)
    return found
