"""The settings of training. Those that the published code has keep their published names."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pops.data.config import DataConfig
from pops.errors import UsageError
from pops.settings.fields import LARGEST_SEED, PathOrName, PathsOrNames, check_range, setting

__all__ = ["DEFAULT_STACK", "HEAD", "TrainConfig"]

DEFAULT_STACK = "kandinsky-2.2"
HEAD = 64  # numbers of a head of a new base prior
MOST = 10**12  # largest value of every setting that counts something


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataConfig):
    """Train an operator on folders of pictures, or on a cache that pops embed has made of them.

    Writes a run folder: the settings, metrics, checkpoints, validation figures, and in the end the
    operator, ready for pops apply. Give the same command again to go on where a run stopped.
    """

    cache: PathsOrNames = setting(
        (), "folders that pops embed has written: training then needs no encoder and is much faster"
    )
    online: bool = setting(False, "encode pictures while training, even if a cache is named")
    joint: PathsOrNames = setting(
        (),
        "settings files of several operators, each with its data: one prior learns them all",
    )
    val_dataset_path: PathsOrNames = setting((), "folders of pictures to validate on")
    output_dir: Path = setting(Path("results/my_pops_model"), "the run folder")

    stack: PathOrName | None = setting(
        None,
        "kandinsky-2.2, pocket, or a folder in its layout; null: the stack of the cache, or "
        "kandinsky-2.2 without a cache",
    )
    pretrained_prior_path: PathOrName | None = setting(
        None, "folder or repository of prior, encoders and scheduler in place of the stack's own"
    )
    init_from: PathOrName | None = setting(
        None, "operator to start from: a name, a folder, a weights file or REPOSITORY:FILE"
    )
    training_mode: str = setting("full", "full, or N_layers: only the last N transformer blocks")
    lora_rank: int | None = setting(None, "train a low-rank adapter of this rank instead")
    base_layers: int = setting(20, "mode base: transformer blocks of the new prior")
    base_width: int = setting(2048, "mode base: width of its tokens, a multiple of 64")

    train_batch_size: int = setting(32, "examples that one process takes at a time")
    gradient_accumulation_steps: int = setting(1, "batches of each process in one step")
    max_train_steps: int = setting(1_000_000, "steps in all")
    lr: float = setting(1e-5, "learning rate")
    lr_scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] = setting(
        "constant", "how the learning rate changes"
    )
    lr_warmup_steps: int = setting(0, "steps over which the learning rate rises")
    adam_beta1: float = setting(0.9, "decay of AdamW's mean of gradients")
    adam_beta2: float = setting(0.999, "decay of AdamW's mean of squared gradients")
    adam_weight_decay: float = setting(0.0, "weight decay of AdamW")
    adam_epsilon: float = setting(1e-8, "epsilon of AdamW")
    use_8bit_adam: bool = setting(False, "use the AdamW with 8-bit state of bitsandbytes")
    max_grad_norm: float = setting(1.0, "norm to which larger gradients are scaled down")
    use_clip_loss: bool = setting(True, "false: leave out the operator's text loss, if it has one")
    clip_strength: float | None = setting(None, "weight of the text loss; null: the operator's own")
    use_ema: bool = setting(False, "average the weights over the steps; the average is kept")
    ema_decay: float = setting(0.9999, "largest share of the average that a step keeps")
    gradient_checkpointing: bool = setting(False, "take less memory and compute more")
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = setting(
        "auto", "auto: bf16 where the device is fast in it"
    )
    allow_tf32: bool = setting(False, "multiply float32 faster and less exactly on an NVIDIA GPU")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    seed: int = setting(0, "seed of the order, the recipes' choices, noise and timesteps")

    log_every: int = setting(10, "steps between two lines of metrics")
    report_to: tuple[str, ...] = setting(
        ("auto",), "tensorboard, wandb, trackio or none; auto: tensorboard where it is installed"
    )
    checkpointing_steps: int = setting(5000, "steps between two checkpoints")
    keep_checkpoints: int = setting(2, "number of newest checkpoints that are kept")
    resume_from_path: Path | None = setting(
        None, "checkpoint to start from, if output_dir has none"
    )
    log_validation: int = setting(5000, "steps between two validations; 0: only at the end")
    log_image_frequency: int = setting(5000, "steps between two figures; 0: only at the end")
    n_val_images: int = setting(10, "rows of a validation figure; 0: no figures")
    n_val_records: int = setting(256, "largest number of records that are validated on")
    save_dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto", "number format of the finished operator; auto: float16 for an adapter, else float32"
    )
    guidance: float | None = setting(
        None, "guidance with which the finished operator is applied; null: the operator's own"
    )
    dry_run: bool = setting(False, "print the settings, what is trained and its memory, and stop")

    examples = (
        "pops train --config_path configs/training/pocket/texturing.yaml",
        "python -m scripts.train --config_path=configs/training/texturing.yaml --dry-run",
        "pops train --config_path configs/training/scene.yaml --init_from operators/texturing",
        "pops train --config_path configs/training/pocket/joint.yaml",
        "pops train --mode base --stack stacks/open-clip --dataset_path captioned --lr 1e-4",
        "accelerate launch --multi_gpu --num_processes 2 -m scripts.train --config_path=...",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("seed", self.seed, 0, LARGEST_SEED)
        for name in (
            *("train_batch_size", "gradient_accumulation_steps", "max_train_steps", "log_every"),
            *("lora_rank", "checkpointing_steps", "keep_checkpoints", "n_val_records"),
            *("base_layers", "base_width"),
        ):
            check_range(name, getattr(self, name), 1, MOST)
        for name in ("lr_warmup_steps", "log_validation"):
            check_range(name, getattr(self, name), 0, MOST)
        for name in ("lr", "adam_epsilon", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"--{name} must be above 0 and finite, not {getattr(self, name)}")
        if not 0 <= self.adam_weight_decay < math.inf:
            raise UsageError(
                f"--adam_weight_decay must be at least 0 and finite, not {self.adam_weight_decay}"
            )
        for name in ("adam_beta1", "adam_beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"--{name} must be at least 0 and below 1, not {getattr(self, name)}"
                )
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, not {self.device!r}")
        if self.layers is not None and self.lora_rank is not None:
            raise UsageError(
                "--lora_rank trains an adapter of all layers: leave out --training_mode"
            )
        if self.joint and self.lora_rank is not None:
            raise UsageError("--lora_rank trains an adapter of one operator: leave out --joint")
        if self.base_width % HEAD:
            raise UsageError(f"--base_width must be a multiple of {HEAD}, not {self.base_width}")
        if self.joint and (self.cache or self.dataset_path or self.val_dataset_path):
            raise UsageError(
                "--joint takes all data from the configs that it names: name the data there"
            )

    @property
    def layers(self) -> int | None:
        """The number of last transformer blocks that are trained; None for all parameters.

        Raises:
            UsageError: `training_mode` is neither full nor N_layers.
        """
        if self.training_mode == "full":
            return None
        match = re.fullmatch(r"([1-9]\d*)_layers", self.training_mode)
        if match is None:
            raise UsageError(
                "--training_mode must be full or N_layers, as in 4_layers, not "
                f"{self.training_mode!r}"
            )
        return int(match[1])
