"""From the settings of a run to those of its parts, which know nothing of the command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from pops.training.config import HEAD, TrainConfig
from pops.training.devices import DeviceSettings, OptimiserSettings
from pops.training.loop import LoopSettings
from pops.training.model import ModelSettings, NewPrior
from pops.training.step.learning_rate import LearningRate

__all__ = [
    "device_settings",
    "loop_settings",
    "model_settings",
    "optimiser_settings",
    "to_plain",
    "to_yaml",
]


def model_settings(config: TrainConfig, is_base: bool = False) -> ModelSettings:
    """Take out the settings of the model.

    Args:
        config: The settings of the run.
        is_base: Whether a base prior is trained, from nothing.

    Returns:
        Where the model starts, and what of it is trained.
    """
    new = NewPrior(config.base_layers, config.base_width // HEAD, HEAD, config.seed)
    return ModelSettings(
        config.init_from,
        config.layers,
        config.lora_rank,
        config.gradient_checkpointing,
        new if is_base else None,
    )


def loop_settings(config: TrainConfig) -> LoopSettings:
    """Take out the settings of the training loop.

    Args:
        config: The settings of the run.

    Returns:
        How long and on how much is trained, and what is done beside it.
    """
    rate = LearningRate(
        config.lr, config.lr_scheduler, config.lr_warmup_steps, config.max_train_steps
    )
    return LoopSettings(
        steps=config.max_train_steps,
        batch=config.train_batch_size,
        learning_rate=rate,
        accumulation=config.gradient_accumulation_steps,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        log_every=config.log_every,
        checkpoint_every=config.checkpointing_steps,
        keep_checkpoints=config.keep_checkpoints,
        validate_every=config.log_validation,
    )


def device_settings(config: TrainConfig) -> DeviceSettings:
    """Take out the settings of the accelerator.

    Args:
        config: The settings of the run.

    Returns:
        Where the run computes, and in which number formats.
    """
    return DeviceSettings(config.device, config.mixed_precision, config.allow_tf32)


def optimiser_settings(config: TrainConfig) -> OptimiserSettings:
    """Take out the settings of the optimiser.

    Args:
        config: The settings of the run.

    Returns:
        The settings of AdamW.
    """
    return OptimiserSettings(
        lr=config.lr,
        betas=(config.adam_beta1, config.adam_beta2),
        weight_decay=config.adam_weight_decay,
        epsilon=config.adam_epsilon,
        use_8bit=config.use_8bit_adam,
    )


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """Give the settings as trackers take them.

    Args:
        config: The settings of the run.

    Returns:
        Numbers and texts by name.
    """
    return {k: v if isinstance(v, int | float) else str(v) for k, v in asdict(config).items()}


def to_yaml(config: TrainConfig) -> str:
    """Write the settings as --config_path reads them.

    Args:
        config: The settings of the run.

    Returns:
        The text of a settings file.
    """
    values = {
        key: list(value)
        if isinstance(value, tuple)
        else str(value)
        if isinstance(value, Path)
        else value
        for key, value in asdict(config).items()
    }
    return yaml.safe_dump(values, sort_keys=False)
