"""The prior that is trained: where it starts, which of its parameters move, what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pops.errors import UsageError
from pops.operators import OPERATORS, without_stats
from pops.prior.adapters import ADAPTER_CONFIG, Adapter, adapter_state, add_adapter, merge_adapter
from pops.prior.joint import JointPrior
from pops.prior.model import Prior
from pops.stacks.stack import Stack, local_path
from pops.training.config import TrainConfig

__all__ = ["Footprint", "TrainedPrior", "make_model", "operator_state", "trained_parameters"]

TrainedPrior = Prior | JointPrior
CONSTANTS = ("clip_mean", "clip_std")
# Floats that one token of one block keeps for the way back, in widths: two norms, the three
# projections, attention, its output, two sums, and the feed-forward layer twice at four widths.
KEPT_WIDTHS = 18


def make_model(config: TrainConfig, stack: Stack, operators: int = 1) -> TrainedPrior:
    """A float32 prior on the CPU, its parameters marked that are to be trained.

    `operators`: how many it is to learn; for several it is a joint one.

    Raises:
        UsageError: the settings do not fit this prior, or what it is to start from.
        WeightsError: what it is to start from is missing or does not fit.
    """
    prior = _start(config, stack)
    if config.lora_rank is not None:
        _give_adapter(prior, config)
    else:
        prior.requires_grad_(config.layers is None)
        for block in _last_blocks(prior, config.layers or 0):
            block.requires_grad_(True)
    for name in CONSTANTS:
        getattr(prior, name).requires_grad_(False)
    prior.gradient_checkpointing = config.gradient_checkpointing
    trainee = prior if operators == 1 else JointPrior(prior, operators)
    return trainee.train()


def _start(config: TrainConfig, stack: Stack) -> Prior:
    place = config.init_from
    if place is None or (config.lora_rank and _is_adapter(place)):
        return stack.prior(stack.base_prior_state(), "the base prior")
    known = place in OPERATORS and not Path(place).exists()
    prior = stack.tuned_prior(stack.operator_path(place) if known else local_path(place))
    merge_adapter(prior)
    return prior


def _is_adapter(place: str) -> bool:
    return (Path(place).expanduser() / ADAPTER_CONFIG).is_file()


def _give_adapter(prior: Prior, config: TrainConfig) -> None:
    rank = config.lora_rank or 0
    if config.init_from is None:
        add_adapter(prior, rank)
        return
    if not _is_adapter(config.init_from):
        raise UsageError(
            f"an adapter changes the base prior, and {config.init_from} is another one: start "
            "from an adapter's folder, or train without --lora_rank"
        )
    adapter = Adapter.read(Path(config.init_from).expanduser())
    if adapter.rank != rank:
        raise UsageError(f"{config.init_from} has rank {adapter.rank}: use --lora_rank with that")
    adapter.put_into(prior.requires_grad_(False))


def _last_blocks(prior: Prior, count: int) -> list[nn.Module]:
    blocks = list(prior.transformer_blocks)
    if count > len(blocks):
        raise UsageError(f"--training_mode {count}_layers, but the prior has {len(blocks)} blocks")
    return blocks[len(blocks) - count :]


def trained_parameters(trainee: TrainedPrior) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name."""
    return {name: p for name, p in trainee.named_parameters() if p.requires_grad}


def operator_state(prior: Prior, config: TrainConfig) -> dict[str, Tensor]:
    """What the operator's weights file is to hold: the adapter, or the whole prior."""
    if config.lora_rank is not None:
        return adapter_state(prior)
    return without_stats(prior.state_dict())


@dataclass(frozen=True)
class Footprint:
    """What training takes in the memory of each device, in bytes; activations are estimated."""

    parameters: int  # of the prior, their count
    trained: int  # of those, that training moves
    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.average + self.activations

    @classmethod
    def of(cls, prior: TrainedPrior, config: TrainConfig, tokens: int) -> Footprint:
        """`tokens`: condition tokens of one example."""
        every = sum(p.numel() for p in prior.parameters())
        trained = sum(p.numel() for p in trained_parameters(prior).values())
        size = prior.config
        kept = 1 if config.gradient_checkpointing else KEPT_WIDTHS
        layers = size.num_layers * kept + (KEPT_WIDTHS if config.gradient_checkpointing else 0)
        rows = config.train_batch_size * (tokens + 4)
        return cls(
            parameters=every,
            trained=trained,
            weights=4 * every,
            gradients=4 * trained,
            optimiser=(2 if config.use_8bit_adam else 8) * trained,
            average=4 * trained * config.use_ema,
            activations=4 * rows * size.width * layers,
        )

    def lines(self) -> list[str]:
        """For people."""
        share = self.trained / self.parameters
        return [
            f"parameters: {self.trained:,} of {self.parameters:,} are trained ({share:.1%})",
            f"memory of each process, about: {_size(self.total)} (weights {_size(self.weights)}, "
            f"gradients {_size(self.gradients)}, optimiser {_size(self.optimiser)}, "
            f"average {_size(self.average)}, activations {_size(self.activations)})",
        ]


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
