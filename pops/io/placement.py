"""Where models run and where they wait: the device, the number format, offloading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from pops.errors import UsageError

__all__ = ["HOST", "OFFLOADS", "Placement", "choose_placement"]

OFFLOADS = ("none", "model")


@dataclass(frozen=True)
class Placement:
    """The device and number format of models; with `offload`, they wait in the host's memory."""

    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    offload: bool = False

    @property
    def rest(self) -> torch.device:
        """Where a model is while it is not used."""
        return torch.device("cpu") if self.offload else self.device

    @contextmanager
    def using(self, *models: nn.Module) -> Iterator[None]:
        """The models are on the device inside the block, and back at rest after it.

        Blocks must not be nested for the same model.
        """
        for model in models:
            model.to(self.device)
        try:
            yield
        finally:
            for model in models:
                model.to(self.rest)


HOST = Placement()


def choose_placement(device: str = "auto", dtype: str = "auto", offload: str = "none") -> Placement:
    """From the words of the command line.

    `auto` is the first of cuda, mps and cpu that is here, and the number format that suits it:
    float32 on a CPU, else bfloat16 where the device has it, else float16.

    Raises:
        UsageError: an unknown word, or a device that is not on this machine.
    """
    if offload not in OFFLOADS:
        raise UsageError(f"unknown offload {offload!r}: use {' or '.join(OFFLOADS)}")
    where = _device(device)
    return Placement(where, _dtype(dtype, where), offload == "model")


def _device(device: str) -> torch.device:
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next((name for name, present in here.items() if present), "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}: use auto, cpu, cuda or mps") from error
    if not here.get(chosen.type, chosen.type == "cpu"):
        raise UsageError(f"device {device!r} is not on this machine: use auto or cpu")
    return chosen


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if bf16 else torch.float16
    if dtype not in names:
        raise UsageError(f"unknown dtype {dtype!r}: use auto, {', '.join(names)}")
    return names[dtype]
