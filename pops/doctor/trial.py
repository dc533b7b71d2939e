"""One sampling step of a random prior of the real size: whether it runs here, and how fast."""

from __future__ import annotations

import time

import torch

from pops.doctor.lines import ReportLine, gigabytes
from pops.errors import PopsError
from pops.io.machine.placement import Placement
from pops.prior.batching import sample_requests
from pops.prior.int8 import round_to_int8
from pops.prior.model import Prior, PriorConfig
from pops.prior.sampling import find_sampler
from pops.prior.schedule import Schedule, betas
from pops.settings.sampling import SamplingSettings

__all__ = ["try_step"]

SPREAD = 0.02  # standard deviation of the random weights
ROOM = 1.3  # memory that the prior and its work take, by the bytes of the prior
TRAIN_STEPS, CLIP = 1000, 10.0  # of the published noise schedule
GUIDANCE, INPUTS = 8.0, 2  # of texturing, the costliest published request


def try_step(config: PriorConfig, placement: Placement, free: int | None) -> ReportLine:
    """Sample one step of a random prior, where there is memory for it.

    Args:
        config: the sizes of the prior.
        placement: where and how it runs.
        free: the bytes of memory that are free there; None where that cannot be told.

    Returns:
        The line, with the seconds of a step.
    """
    with torch.device("meta"):
        prior = Prior(config)
    numbers = sum(tensor.numel() for tensor in prior.parameters())
    need = round(numbers * placement.dtype.itemsize * ROOM)
    size = f"a random prior of {numbers / 1e6:,.0f} million numbers"
    if free is not None and free < need:
        says = f"not tried: {size} takes {gigabytes(need)}, and {gigabytes(free)} are free"
        return ReportLine("one step", says)
    try:
        seconds = _time_step(prior, placement)
    except PopsError as error:
        return ReportLine("one step", str(error), "use another --device or --dtype")
    says = f"{size} takes {seconds:.3g} s for one on {placement.device}, "
    says += f"so about {seconds * SamplingSettings.steps:.3g} s for {SamplingSettings.steps}"
    return ReportLine("one step", says)


@torch.no_grad()
def _time_step(prior: Prior, placement: Placement) -> float:
    """Measure the seconds of a second step: the first also prepares the device."""
    device, dim = placement.device, prior.config.embedding_dim
    prior = prior.to(placement.dtype).to_empty(device=device).requires_grad_(False).eval()
    for name, tensor in prior.named_parameters():
        if name == "clip_std":
            tensor.fill_(1.0)
        else:
            tensor.normal_(std=SPREAD)
    if placement.int8:
        round_to_int8(prior)
    else:
        prior.join_projections()
    schedule = Schedule(betas(TRAIN_STEPS), CLIP)
    rows, sampler = [torch.randn(INPUTS, dim)], find_sampler(SamplingSettings.sampler)
    with placement.using(prior):
        for _ in range(2):
            began = time.perf_counter()
            made = sample_requests(prior, rows, [[0]], GUIDANCE, schedule, 1, sampler)
            seconds = time.perf_counter() - began
    if not made.isfinite().all():
        raise PopsError(
            f"a step gives numbers that are not finite in {placement.dtype}: use another --dtype"
        )
    return seconds
