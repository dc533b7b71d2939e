"""The accelerator and the optimiser of a run: devices, number formats and update rule."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pops.errors import UsageError, install_hint
from pops.io.machine.placement import choose_device, has_bfloat16

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "DeviceSettings",
    "OptimiserSettings",
    "choose_precision",
    "make_accelerator",
    "make_optimiser",
]

PATIENCE = timedelta(hours=6)  # how long processes wait for the one that validates


@dataclass(frozen=True)
class DeviceSettings:
    """Where a run computes, and in which number formats."""

    device: str = "auto"
    mixed_precision: str = "auto"
    allow_tf32: bool = False


@dataclass(frozen=True)
class OptimiserSettings:
    """The settings of AdamW."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    use_8bit: bool = False


def make_accelerator(
    settings: DeviceSettings, folder: Path, trackers: Sequence[str] = ()
) -> Accelerator:
    """Make the accelerator of a run.

    Args:
        settings: Where it computes.
        folder: The run folder, in which trackers write.
        trackers: The names of trackers.

    Returns:
        The accelerator of this process.

    Raises:
        UsageError: accelerate is not installed, or the device cannot do what is asked.
    """
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError as error:
        raise UsageError(f"training needs accelerate: {install_hint('train')}") from error
    device, precision = choose_device(settings.device), choose_precision(settings)
    if ":" in settings.device:
        os.environ.setdefault("ACCELERATE_TORCH_DEVICE", settings.device)
    torch.backends.cuda.matmul.allow_tf32 = settings.allow_tf32
    torch.backends.cudnn.allow_tf32 = settings.allow_tf32
    return Accelerator(
        mixed_precision=precision,
        cpu=device.type == "cpu",
        log_with=list(trackers) or None,
        project_dir=folder,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def choose_precision(settings: DeviceSettings) -> str:
    """Choose the number format of the products of a run.

    Args:
        settings: Where it computes.

    Returns:
        bf16, fp16 or no; `auto` is bf16 on a GPU that computes in it itself.

    Raises:
        UsageError: The device is not here, or cannot do what is asked.
    """
    device = choose_device(settings.device)
    automatic = "bf16" if device.type == "cuda" and has_bfloat16(device) else "no"
    precision = automatic if settings.mixed_precision == "auto" else settings.mixed_precision
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(
            "--mixed_precision fp16 works on CUDA devices only: use bf16 or no elsewhere"
        )
    return precision


def make_optimiser(
    settings: OptimiserSettings, parameters: Sequence[torch.nn.Parameter], *, fused: bool = False
) -> torch.optim.Optimizer:
    """Make the optimiser of a run.

    Args:
        settings: The settings of AdamW.
        parameters: The parameters that are trained.
        fused: Whether AdamW updates all parameters in one operation, which needs no temporary
            copies of them.

    Returns:
        AdamW, or that of bitsandbytes with 8-bit state.

    Raises:
        UsageError: bitsandbytes is asked for and not installed.
    """
    kind = _adamw_8bit() if settings.use_8bit else partial(torch.optim.AdamW, fused=fused or None)
    optimiser: torch.optim.Optimizer = kind(
        list(parameters),
        lr=settings.lr,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        eps=settings.epsilon,
    )
    return optimiser


def _adamw_8bit() -> Any:
    try:
        return import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise UsageError("--use_8bit_adam needs bitsandbytes: pip install bitsandbytes") from error
