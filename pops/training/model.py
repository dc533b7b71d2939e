"""The prior that is trained: where it starts, which of its parameters are trained, its memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pops.errors import UsageError
from pops.io.hub.snapshots import local_path
from pops.io.names import expand_home
from pops.operators import OPERATORS, without_stats
from pops.prior.adapters import ADAPTER_CONFIG, Adapter, adapter_state, add_adapter, merge_adapter
from pops.prior.joint import JointPrior
from pops.prior.model import Prior, PriorConfig
from pops.stacks.stack import Stack

__all__ = [
    "Footprint",
    "ModelSettings",
    "NewPrior",
    "TrainedPrior",
    "make_model",
    "operator_state",
    "trained_parameters",
]

TrainedPrior = Prior | JointPrior
EMBEDDING_STD = 0.02  # of positions, as transformers usually start
CONSTANTS = ("clip_mean", "clip_std")
# Floats that one token of one block keeps for the backward pass, in widths: two norms, the three
# projections, attention, its output, two sums, and the feed-forward layer twice at four widths.
KEPT_WIDTHS = 18


@dataclass(frozen=True)
class NewPrior:
    """The sizes of a prior that starts from random numbers, and their seed."""

    layers: int
    heads: int
    head_dim: int
    seed: int = 0

    def make(self, stack: Stack) -> Prior:
        """Make the prior.

        Args:
            stack: The stack, whose embeddings it is for.

        Returns:
            A prior with the stack's mean and deviation of embeddings.

        Raises:
            WeightsError: The stack has none yet.
        """
        config = PriorConfig(
            self.heads, self.head_dim, self.layers, stack.prior_config.embedding_dim
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            prior = Prior(config)
            for learned in (prior.positional_embedding, prior.prd_embedding):
                nn.init.normal_(learned, std=EMBEDDING_STD)
        prior.load_state_dict(stack.clip_stats, strict=False)
        return prior


@dataclass(frozen=True)
class ModelSettings:
    """Where a prior starts, and which of its parameters are trained."""

    init_from: str | None = None  # an operator; None for the stack's base prior
    layers: int | None = None  # only the last so many transformer blocks; None for all parameters
    lora_rank: int | None = None  # rank of the adapter that is trained in place of the prior
    gradient_checkpointing: bool = False
    new: NewPrior | None = None  # in place of all that: a base prior from nothing


def make_model(settings: ModelSettings, stack: Stack, operators: int = 1) -> TrainedPrior:
    """Make the prior that is trained.

    Args:
        settings: Where it starts, and what of it is trained.
        stack: The stack.
        operators: How many operators it learns; for several it is a joint prior.

    Returns:
        A float32 prior on the CPU in training mode. `requires_grad` marks the trained parameters.

    Raises:
        UsageError: The settings do not fit this prior, or the operator that it starts from.
        WeightsError: The operator that it starts from is missing or does not fit.
    """
    prior = _start(settings, stack)
    if settings.lora_rank is not None:
        _give_adapter(prior, settings.lora_rank, settings.init_from)
    else:
        prior.requires_grad_(settings.layers is None)
        for block in _last_blocks(prior, settings.layers or 0):
            block.requires_grad_(True)
    for name in CONSTANTS:
        getattr(prior, name).requires_grad_(False)
    prior.gradient_checkpointing = settings.gradient_checkpointing
    model = prior if operators == 1 else JointPrior(prior, operators)
    return model.train()


def _start(settings: ModelSettings, stack: Stack) -> Prior:
    if settings.new is not None:
        return settings.new.make(stack)
    place = settings.init_from
    if place is None or (settings.lora_rank and _is_adapter(place)):
        return stack.prior(stack.base_prior_state(), "the base prior")
    known = place in OPERATORS and not Path(place).exists()
    prior = stack.tuned_prior(stack.operator_path(place) if known else local_path(place))
    merge_adapter(prior)
    return prior


def _is_adapter(place: str) -> bool:
    return (expand_home(place) / ADAPTER_CONFIG).is_file()


def _give_adapter(prior: Prior, rank: int, init_from: str | None) -> None:
    if init_from is None:
        add_adapter(prior, rank)
        return
    if not _is_adapter(init_from):
        raise UsageError(
            f"an adapter changes the base prior, and {init_from} is another one: start "
            "from an adapter's folder, or train without --lora_rank"
        )
    adapter = Adapter.read(expand_home(init_from))
    if adapter.rank != rank:
        raise UsageError(f"{init_from} has rank {adapter.rank}: use --lora_rank {adapter.rank}")
    adapter.put_into(prior.requires_grad_(False))


def _last_blocks(prior: Prior, count: int) -> list[nn.Module]:
    blocks = list(prior.transformer_blocks)
    if count > len(blocks):
        raise UsageError(
            f"--training_mode {count}_layers asks for more blocks than the {len(blocks)} of "
            "the prior"
        )
    return blocks[len(blocks) - count :]


def trained_parameters(model: TrainedPrior) -> dict[str, nn.Parameter]:
    """List the parameters that are trained.

    Args:
        model: A prior that `make_model` has made.

    Returns:
        The parameters by name.
    """
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def operator_state(prior: Prior, lora_rank: int | None) -> dict[str, Tensor]:
    """Give the tensors of the operator's weights file.

    Args:
        prior: The trained prior.
        lora_rank: The rank of its adapter; None where the whole prior is trained.

    Returns:
        The tensors of the adapter, or of the whole prior, by name.
    """
    return without_stats(prior.state_dict()) if lora_rank is None else adapter_state(prior)


@dataclass(frozen=True)
class Footprint:
    """The memory that training takes on each device, in bytes; activations are estimated."""

    parameters: int  # their number in the prior
    trained: int  # the number of those that are trained
    weights: int
    gradients: int
    optimiser: int
    ema: int
    activations: int
    copies: int = 0  # of the weights in half precision, which autocast keeps for a step

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        state = self.weights + self.gradients + self.optimiser + self.ema
        return state + self.activations + self.copies

    @classmethod
    def of(
        cls,
        model: TrainedPrior,
        tokens: int,
        batch: int,
        *,
        use_ema: bool = False,
        use_8bit_adam: bool = False,
        gradient_checkpointing: bool = False,
        half: bool = False,
    ) -> Footprint:
        """Estimate the memory of training a model.

        Args:
            model: The model.
            tokens: Condition tokens of one example.
            batch: Examples of one process at a time.
            use_ema: Whether an average of the weights is kept.
            use_8bit_adam: Whether the optimiser's state has 8 bits.
            gradient_checkpointing: Whether activations are computed again in the backward pass.
            half: Whether products are computed in half precision.

        Returns:
            The estimate. AdamW adds nothing for a moment: on CUDA it is one fused operation.
        """
        every = sum(p.numel() for p in model.parameters())
        trained = sum(p.numel() for p in trained_parameters(model).values())
        size = model.config
        kept = 1 if gradient_checkpointing else KEPT_WIDTHS
        layers = size.num_layers * kept + (KEPT_WIDTHS if gradient_checkpointing else 0)
        return cls(
            parameters=every,
            trained=trained,
            weights=4 * every,
            gradients=4 * trained,
            optimiser=(2 if use_8bit_adam else 8) * trained,
            ema=4 * trained * use_ema,
            activations=4 * batch * (tokens + 4) * size.width * layers,
            copies=2 * trained * half,
        )

    def lines(self) -> list[str]:
        """Say it in words.

        Returns:
            Two lines.
        """
        share = self.trained / self.parameters
        return [
            f"parameters: {self.trained:,} of {self.parameters:,} are trained ({share:.1%})",
            f"memory of each process, about: {_size(self.total)} (weights {_size(self.weights)}, "
            f"gradients {_size(self.gradients)}, optimiser {_size(self.optimiser)}, "
            f"average {_size(self.ema)}, activations {_size(self.activations)}, "
            f"copies in half precision {_size(self.copies)})",
        ]


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
