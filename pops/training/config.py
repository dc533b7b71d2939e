"""The settings of training. Those that the published code has keep their published names."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from pops.data.config import DataConfig
from pops.errors import UsageError
from pops.settings.fields import (
    AMOUNT,
    BATCH,
    GUIDANCE,
    SEED,
    PathOrName,
    PathsOrNames,
    Range,
    setting,
)

__all__ = ["DEFAULT_STACK", "HEAD", "TrainConfig"]

DEFAULT_STACK = "kandinsky-2.2"
HEAD = 64  # numbers of a head of a new base prior
DECAY = Range(0, 0.999999)  # of a mean over steps, of which some is new at every step
EVERY = Range(0, 10**9)  # steps; 0 for never


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
    lora_rank: int | None = setting(
        None, "train a low-rank adapter of this rank instead", within=Range(1, 4096)
    )
    base_layers: int = setting(
        20, "mode base: transformer blocks of the new prior", within=Range(1, 256)
    )
    base_width: int = setting(
        2048, "mode base: width of its tokens, a multiple of 64", within=Range(HEAD, 16_384)
    )

    train_batch_size: int = setting(32, "examples that one process takes at a time", within=BATCH)
    gradient_accumulation_steps: int = setting(
        1, "batches of each process in one step", within=Range(1, 10_000)
    )
    max_train_steps: int = setting(
        1_000_000,
        "steps in all",
        within=Range(1, 999_999_999),  # as many digits as in the name of a checkpoint
    )
    lr: float = setting(1e-5, "learning rate", within=Range(1e-12, 100))
    lr_scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] = setting(
        "constant", "how the learning rate changes"
    )
    lr_warmup_steps: int = setting(0, "steps over which the learning rate rises", within=EVERY)
    adam_beta1: float = setting(0.9, "decay of AdamW's mean of gradients", within=DECAY)
    adam_beta2: float = setting(0.999, "decay of AdamW's mean of squared gradients", within=DECAY)
    adam_weight_decay: float = setting(0.0, "weight decay of AdamW", within=Range(0, 100))
    adam_epsilon: float = setting(1e-8, "epsilon of AdamW", within=Range(1e-30, 1))
    use_8bit_adam: bool = setting(False, "use the AdamW with 8-bit state of bitsandbytes")
    max_grad_norm: float = setting(
        1.0, "norm to which larger gradients are scaled down", within=Range(1e-9, 10**9)
    )
    use_clip_loss: bool = setting(True, "false: leave out the operator's text loss, if it has one")
    clip_strength: float | None = setting(
        None, "weight of the text loss; null: the operator's own", within=Range(0, 10_000)
    )
    use_ema: bool = setting(False, "average the weights over the steps; the average is kept")
    ema_decay: float = setting(
        0.9999, "largest share of the average that a step keeps", within=DECAY
    )
    gradient_checkpointing: bool = setting(False, "take less memory and compute more")
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = setting(
        "auto", "auto: bf16 where the device is fast in it"
    )
    allow_tf32: bool = setting(False, "multiply float32 faster and less exactly on an NVIDIA GPU")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    seed: int = setting(
        0, "seed of the order, the recipes' choices, noise and timesteps", within=SEED
    )

    log_every: int = setting(10, "steps between two lines of metrics", within=AMOUNT)
    report_to: tuple[str, ...] = setting(
        ("auto",), "tensorboard, wandb, trackio or none; auto: tensorboard where it is installed"
    )
    checkpointing_steps: int = setting(5000, "steps between two checkpoints", within=AMOUNT)
    keep_checkpoints: int = setting(2, "number of newest checkpoints that are kept", within=AMOUNT)
    resume_from_path: Path | None = setting(
        None, "checkpoint to start from, if output_dir has none"
    )
    log_validation: int = setting(
        5000, "steps between two validations; 0: only at the end", within=EVERY
    )
    log_image_frequency: int = setting(
        5000, "steps between two figures; 0: only at the end", within=EVERY
    )
    n_val_images: int = setting(
        10, "rows of a validation figure; 0: no figures", within=Range(0, 1000)
    )
    n_val_records: int = setting(
        256, "largest number of records that are validated on", within=AMOUNT
    )
    save_dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto", "number format of the finished operator; auto: float16 for an adapter, else float32"
    )
    guidance: float | None = setting(
        None,
        "guidance with which the finished operator is applied; null: the operator's own",
        within=GUIDANCE,
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
        self._check_letters()
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", self.device):
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
    def data_folders(self) -> tuple[str | Path, ...]:
        """All folders of samples and pictures that are named."""
        more = (self.textures_dir, self.backgrounds_dir, self.randoms_dir)
        return (*self.dataset_path, *self.val_dataset_path, *filter(None, more))

    def _check_letters(self) -> None:
        """Refuse names that are not UTF-8: the run folder and the operator's card keep them."""
        for one in fields(self):
            value = getattr(self, one.name)
            for text in map(str, value if isinstance(value, tuple) else (value,)):
                if re.search("[\ud800-\udfff]", text):
                    raise UsageError(
                        f"--{one.name}: {ascii(text)} is not UTF-8, in which the run keeps its "
                        "settings: rename it, or name it by a link"
                    )

    @property
    def layers(self) -> int | None:
        """The number of last transformer blocks that are trained; None for all parameters.

        Raises:
            UsageError: `training_mode` is neither full nor N_layers.
        """
        if self.training_mode == "full":
            return None
        match = re.fullmatch(r"([1-9][0-9]{0,3})_layers", self.training_mode)
        if match is None:
            raise UsageError(
                "--training_mode must be full or N_layers, as in 4_layers, not "
                f"{self.training_mode!r}"
            )
        return int(match[1])
