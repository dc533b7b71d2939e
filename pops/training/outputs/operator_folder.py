"""The operator folders that a run leaves, with their model cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pops.errors import PopsError
from pops.io.formats.tensors import saving
from pops.operators import OperatorCard, save_card, save_operator
from pops.prior.adapters import save_adapter
from pops.prior.joint import JointPrior, save_own, save_shared
from pops.training.model import TrainedPrior, operator_state

__all__ = ["save_operators"]


def save_operators(
    folder: Path,
    model: TrainedPrior,
    cards: Sequence[OperatorCard],
    pictures: Sequence[str] = (),
    *,
    lora_rank: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Path]:
    """Write the folder of every operator that a model has learnt. The weights come last.

    A single operator gets `folder` itself, with the whole prior or an adapter. Several get folders
    in it, beside the prior that they share; each can be loaded by itself.

    Args:
        folder: The folder to write into.
        model: The trained model.
        cards: The card of every operator, in the order of their numbers in the model.
        pictures: Names of pictures in `folder` that the model cards show.
        lora_rank: The rank of the adapter; None where the whole prior is trained.
        dtype: The number format of the files.

    Returns:
        The operators' folders.

    Raises:
        PopsError: A weight is too large for the number format.
        OutputError: A file cannot be written.
    """

    def stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = {k: value.detach().to("cpu", dtype).contiguous() for k, value in state.items()}
        for name, value in made.items():
            if not value.isfinite().all():
                raise PopsError(
                    f"{name} is too large for {dtype}, in which it is not finite: use "
                    "--save_dtype float32"
                )
        return made

    if isinstance(model, JointPrior):
        with saving(folder):
            save_shared(folder, stored(operator_state(model.prior, lora_rank)))
            for number, card in enumerate(cards):
                shown = [f"../{name}" for name in pictures]
                own = save_card(folder / card.operator.name, card, shown)
                save_own(own, stored(model.own_state(number)))
        return [folder / card.operator.name for card in cards]
    (card,), state = cards, stored(operator_state(model, lora_rank))
    with saving(folder):
        if lora_rank is None:
            save_operator(folder, card, state, pictures)
        else:
            save_card(folder, card, pictures)
            save_adapter(folder, state, lora_rank)
    return [folder]
