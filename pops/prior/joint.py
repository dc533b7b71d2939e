"""One prior for several operators: all of its tensors are shared but two biases.

The prior is told which operator is meant by two learned vectors, its marks: one is added to every
condition token, one to the pooled-text slot, which all operators leave empty. As biases of the two
projections they cost nothing, and what comes of it is a plain prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pops.errors import WeightsError
from pops.io.files import make_folder
from pops.io.formats.tensors import read_tensors, save_tensors
from pops.prior.model import Prior, PriorConfig

__all__ = [
    "OWN_WEIGHTS",
    "SHARED_WEIGHTS",
    "JointPrior",
    "read_own",
    "save_own",
    "save_shared",
]

SHARED_WEIGHTS = "prior.safetensors"  # beside the operators' folders
OWN_WEIGHTS = "own.safetensors"  # in each of them
MARKED = ("encoder_hidden_states_proj.bias", "embedding_proj.bias")


class JointPrior(nn.Module):
    """A prior that is trained for several operators at once.

    Args:
        prior: The prior that all operators share.
        operators: The number of operators.
    """

    def __init__(self, prior: Prior, operators: int) -> None:
        super().__init__()
        self.prior = prior
        self.marks = nn.Parameter(torch.zeros(operators, len(MARKED), prior.config.width))

    @property
    def config(self) -> PriorConfig:
        """The config of the prior that the operators share."""
        return self.prior.config

    def forward(
        self, x_t: Tensor, t: Tensor, tokens: Tensor, mask: Tensor, operator: Tensor
    ) -> Tensor:
        """Predict x0 as the prior does, each row for its own operator.

        Args:
            x_t: Noisy embeddings (N, D).
            t: Timesteps (N,).
            tokens: Condition tokens (N, K, D).
            mask: True (N, K) for slots that are used.
            operator: The number (N,) of each row's operator.

        Returns:
            x0 (N, D), normalised.
        """
        out: Tensor = self.prior(x_t, t, tokens, mask, self.marks[operator])
        return out

    def own_state(self, operator: int) -> dict[str, Tensor]:
        """Collect the tensors that belong to one operator alone.

        Args:
            operator: The operator's number.

        Returns:
            The tensors by their names in the prior.
        """
        return {
            name: (self.prior.get_parameter(name) + mark).detach()
            for name, mark in zip(MARKED, self.marks[operator], strict=True)
        }

    def operator(self, operator: int) -> Prior:
        """Give the prior of one operator; it shares all other tensors with this one.

        Args:
            operator: The operator's number.

        Returns:
            A plain prior.
        """
        return self.prior.sharing(self.own_state(operator))


def save_shared(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write the tensors that all operators share, beside the operators' folders.

    Args:
        folder: The folder of the operators' folders, which is made where it is missing.
        state: The tensors by name.
    """
    save_tensors(make_folder(folder) / SHARED_WEIGHTS, state)


def save_own(folder: Path, own: Mapping[str, Tensor]) -> None:
    """Write the tensors that an operator adds to the shared prior into its folder.

    Args:
        folder: The operator folder.
        own: The tensors, from `JointPrior.own_state`.
    """
    save_tensors(folder / OWN_WEIGHTS, own)


def read_own(folder: Path) -> dict[str, Tensor]:
    """Read the tensors that an operator adds to the shared prior.

    Args:
        folder: The operator folder.

    Returns:
        The tensors by their names in the prior.

    Raises:
        WeightsError: The file is missing or damaged, or holds other tensors.
    """
    path = folder / OWN_WEIGHTS
    own = read_tensors(path)
    if set(own) != set(MARKED):
        raise WeightsError(
            f"{path} holds {', '.join(sorted(own))}, not {' and '.join(MARKED)}: train it again"
        )
    return own
