"""All checks of `pops doctor`, in the order in which a user meets what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pops.doctor import machine, models
from pops.doctor.lines import ReportLine
from pops.doctor.trial import try_step
from pops.errors import PopsError
from pops.io.machine.placement import choose_placement
from pops.stacks.stack import Stack, open_stack

__all__ = ["examine"]

WORK = 0.15  # memory that the work takes, by the bytes of the models


def examine(
    stack: str = "pocket",
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "none",
    renderer: str = "kandinsky",
    step: bool = True,
) -> Iterator[ReportLine]:
    """Look at the machine and a stack. No weights are loaded, and nothing is fetched.

    Args:
        stack: the name of the stack, or a folder.
        device: the device as the commands take it.
        dtype: the number format as the commands take it.
        offload: `none` or `model`, as the commands take it.
        renderer: the name of the renderer.
        step: whether one sampling step is tried, on random weights.

    Yields:
        The lines of the report, each as soon as it is known.

    Raises:
        UsageError: the stack is unknown, or the device is not here.
    """
    placement = choose_placement(device, dtype, offload)
    opened = open_stack(stack, device=device, dtype=dtype, offload=offload)
    yield from machine.versions()
    yield machine.device(placement, device)
    yield machine.number_format(placement, dtype)
    parts = models.find_parts(opened.spec, renderer)
    yield from map(models.part_line, parts)
    operators, of_operator = models.operators_line(opened.spec, opened.operators)
    yield operators
    yield models.hub_line(parts)
    yield machine.disk(_cache(), sum(part.to_fetch for part in parts) + of_operator)
    yield from _memory(opened, parts)
    yield from filter(None, map(models.check_part, parts))
    if step:
        yield from _step(opened)


def _cache() -> Path:
    """Find the folder that downloads go to."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _memory(stack: Stack, parts: list[models.StackPart]) -> Iterator[ReportLine]:
    try:
        numbers = models.numbers_of(parts).values()
    except PopsError as error:
        yield ReportLine("memory", str(error), "fetch or build this part again")
        return
    size = stack.placement.weight_bytes
    whole = sum(numbers) * size
    yield machine.memory(stack.placement, whole, max(numbers) * size, round(whole * WORK))


def _step(stack: Stack) -> Iterator[ReportLine]:
    prior = next(iter(models.find_parts(stack.spec, "")))
    if prior.folder is None and prior.repository is None:
        return  # a line has said that it is missing
    try:
        config = stack.prior_config
    except PopsError:
        return  # so has the line of its configs
    yield try_step(config, stack.placement, machine.free_memory(stack.placement.device))
