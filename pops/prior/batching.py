"""Sampling of many requests, each with seeds of its own, in batches of the prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pops.errors import UsageError
from pops.io.machine.placement import in_batches
from pops.prior.conditions import Conditions, Prompt, null_conditions, pack, pack_prompts
from pops.prior.model import ConditionCache, Prior
from pops.prior.sampling import OnStep, Sampler, guide, seeded_noise
from pops.prior.schedule import Schedule, timesteps

__all__ = ["sample_prompts", "sample_requests", "seeds_of_each"]

MOST_ROWS = 256  # samples in one batch of the prior


def seeds_of_each(
    seeds: Sequence[int] | Sequence[Sequence[int]], requests: int
) -> list[Sequence[int]]:
    """List the seeds of every request.

    Args:
        seeds: Seeds that are those of all requests, or a sequence for each request.
        requests: The number of requests.

    Returns:
        One sequence of seeds for each request.

    Raises:
        UsageError: There are sequences, but not one for each request.
    """
    own = [seed for seed in seeds if isinstance(seed, Sequence)]
    if not own:
        return [list(seeds)] * requests  # type: ignore[arg-type]
    if len(own) != requests:
        raise UsageError(
            f"there are seeds for {len(own)} of {requests} requests: give one list of seeds to "
            "all, or one to each"
        )
    return own


def sample_requests(
    prior: Prior,
    rows: Sequence[Tensor],
    seeds: Sequence[Sequence[int]],
    guidance: float,
    schedule: Schedule,
    steps: int,
    sampler: Sampler,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample every request with each of its seeds, in batches that halve where memory is short.

    Args:
        prior: The tuned prior, on the device where it runs.
        rows: The condition tokens (k, D) of every request, normalised, on the CPU.
        seeds: The seeds of every request.
        guidance: The scale of classifier-free guidance.
        schedule: The noise schedule.
        steps: The number of sampling steps.
        sampler: The sampling function.
        on_step: Called with the steps that are done and the steps of all batches.

    Returns:
        Un-normalised embeddings (N, D) float32 on the CPU, all seeds of the first request first.
    """

    def prefixes(requests: Sequence[int]) -> ConditionCache:
        conditions, of_job = _pack_jobs(rows, requests)
        return _prefixes(prior, conditions, of_job, guided=guidance > 1)

    return _sample_jobs(prior, prefixes, seeds, guidance, schedule, steps, sampler, on_step)


def sample_prompts(
    prior: Prior,
    prompts: Sequence[tuple[Prompt, Prompt]],
    seeds: Sequence[Sequence[int]],
    guidance: float,
    schedule: Schedule,
    steps: int,
    sampler: Sampler,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample the base prior for every prompt with each of its seeds, as diffusers samples it.

    Unlike an operator, the base prior is given the text embedding in the pooled-text slot, and
    guidance leads away from another text, not from dropped conditions.

    Args:
        prior: The base prior, on the device where it runs.
        prompts: The prompts, on the CPU, each with the one that guidance leads away from.
        seeds: The seeds of every prompt.
        guidance: The scale of classifier-free guidance.
        schedule: The noise schedule.
        steps: The number of sampling steps.
        sampler: The sampling function.
        on_step: Called with the steps that are done and the steps of all batches.

    Returns:
        Un-normalised embeddings (N, D) float32 on the CPU, all seeds of the first prompt first.
    """

    def prefixes(requests: Sequence[int]) -> ConditionCache:
        away = [prompts[i][1] for i in requests] if guidance > 1 else []
        asked = away + [prompts[i][0] for i in requests]
        distinct = {id(one): one for one in asked}
        conditions = pack_prompts(list(distinct.values()))
        index = torch.tensor([list(distinct).index(id(one)) for one in asked])
        return _condition(prior, conditions, index)

    return _sample_jobs(prior, prefixes, seeds, guidance, schedule, steps, sampler, on_step)


def _sample_jobs(
    prior: Prior,
    prefixes: Callable[[Sequence[int]], ConditionCache],
    seeds: Sequence[Sequence[int]],
    guidance: float,
    schedule: Schedule,
    steps: int,
    sampler: Sampler,
    on_step: OnStep | None,
) -> Tensor:
    """Sample every request with each of its seeds.

    `prefixes` gives the conditions of requests by their numbers; with guidance, the unconditional
    ones first.
    """
    jobs = [(request, seed) for request, own in enumerate(seeds) for seed in own]
    made = torch.zeros(len(jobs), prior.config.embedding_dim)

    def run(batch: slice, done: int, batches: int) -> None:
        count = _step_counter(on_step, done * steps, batches * steps)
        cache = prefixes([request for request, _ in jobs[batch]])
        own = [seed for _, seed in jobs[batch]]
        made[batch] = _sample(prior, cache, own, guidance, schedule, steps, sampler, count)

    in_batches(len(jobs), MOST_ROWS, run)
    return made


def _pack_jobs(rows: Sequence[Tensor], requests: Sequence[int]) -> tuple[Conditions, Tensor]:
    """Pack the distinct requests of a batch, and tell for every job which of them it samples."""
    distinct = list(dict.fromkeys(requests))
    return pack([rows[i] for i in distinct]), torch.tensor([distinct.index(i) for i in requests])


def _prefixes(
    prior: Prior, conditions: Conditions, of_job: Tensor, *, guided: bool
) -> ConditionCache:
    """Compute the keys and values that the moving tokens of every job attend to.

    With guidance, the unconditional jobs come first. Each distinct request is computed once, and so
    is each distinct unconditional one: all requests with as many condition tokens share it.
    """
    index = of_job
    if guided:
        masks, kind = torch.unique(conditions.mask, dim=0, return_inverse=True)
        example = torch.zeros(len(masks), dtype=torch.long)
        example[kind] = torch.arange(len(conditions))
        null = null_conditions(conditions.rows(example))
        conditions = Conditions(
            torch.cat([null.tokens, conditions.tokens]), torch.cat([null.mask, conditions.mask])
        )
        index = torch.cat([kind[of_job], len(masks) + of_job])
    return _condition(prior, conditions, index)


def _condition(prior: Prior, conditions: Conditions, index: Tensor) -> ConditionCache:
    """Compute the prefixes of distinct conditions, each once, picked by `index`."""
    device = prior.clip_mean.device
    tokens, mask = conditions.tokens.to(device), conditions.mask.to(device)
    pooled = None if conditions.pooled is None else conditions.pooled.to(device)
    return prior.condition(tokens, mask, pooled).rows(index)


@torch.inference_mode()
def _sample(
    prior: Prior,
    cache: ConditionCache,
    seeds: Sequence[int],
    scale: float,
    schedule: Schedule,
    steps: int,
    sampler: Sampler,
    on_step: OnStep | None,
) -> Tensor:
    """Sample one batch: un-normalised embeddings (N, D) float32 on the CPU.

    All that a step needs is on the device before the first, so that the host never waits for it.
    """
    device = prior.clip_mean.device
    ahead = 1 if device.type == "cpu" else steps
    noise = seeded_noise(seeds, prior.config.embedding_dim, device, ahead)
    ts = timesteps(steps, schedule.train_timesteps)
    times = dict(zip(ts, prior.time_tokens(torch.tensor(ts).to(device)), strict=True))

    def denoise(x_t: Tensor, t: int) -> Tensor:
        if t not in times:  # a sampler may take other timesteps than these
            times[t] = prior.time_tokens(torch.tensor([t]).to(device))[0]
        return prior.step(x_t, times[t], cache)

    x0 = sampler(guide(denoise, scale), noise, schedule, steps, on_step)
    return prior.denormalise(x0).cpu()


def _step_counter(on_step: OnStep | None, before: int, total: int) -> OnStep | None:
    if on_step is None:
        return None
    return lambda done, _: on_step(before + done, total)
