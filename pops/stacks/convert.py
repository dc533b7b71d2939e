"""Operators between the published weights file and the operator folder of pops."""

from __future__ import annotations

from pathlib import Path

import torch

from pops.errors import UsageError, WeightsError
from pops.io.files import atomic_path, new_folder
from pops.io.formats.tensors import check_finite, saving
from pops.io.hub.snapshots import local_path
from pops.operators import (
    OPERATORS,
    Operator,
    OperatorCard,
    find_operator,
    read_operator_card,
    read_state_dict,
    save_card,
    save_operator,
    without_stats,
)
from pops.prior.adapters import check_lora, effective_state, read_lora, save_adapter
from pops.stacks.spec import STACKS
from pops.stacks.stack import open_stack

__all__ = ["convert"]

PUBLISHED_STACK = "kandinsky-2.2"
WEIGHTS_SUFFIXES = (".pth", ".pt")


def convert(
    source: str | Path, out: str | Path, operator: str | None = None, stack: str | None = None
) -> Path:
    """Convert an operator, once its keys and shapes are found to fit its stack.

    Args:
        source: A weights file, a LoRA file of diffusers or REPOSITORY:FILE, which becomes an
            operator folder with its model card; or an operator folder, an adapter's or one of a
            joint prior's too, which becomes a weights file.
        out: The folder to write, or a file that ends in .pth.
        operator: The operator that a weights file holds, where its path does not say.
        stack: The stack it is of; that of the folder's card, or else kandinsky-2.2.

    Returns:
        The path of what was written.

    Raises:
        UsageError: It is not known which operator or which stack it is.
        WeightsError: The source is missing, damaged, holds more than tensors or numbers that are
            not finite, or does not fit.
        OutputError: The result cannot be written.
    """
    path, out = local_path(source), Path(out)
    if path.is_dir():
        return _from_folder(path, out, operator, stack)
    if out.suffix in WEIGHTS_SUFFIXES:
        raise UsageError(f"{path} is a weights file already: name a folder to convert it into")
    row = find_operator(operator) if operator else _operator_of(source)
    lora = read_lora(path) if path.suffix == ".safetensors" else None
    of = open_stack(stack or PUBLISHED_STACK, device="cpu")
    made_from = str(source) if str(source) != str(path) else path.name
    card = OperatorCard(row, of.name, {"converted from": made_from})
    if lora is not None:
        check_lora(lora, of.prior_shapes, str(path))
        save_adapter(save_card(out, card), *lora)
        return out
    state = read_state_dict(path)
    of.check_operator(state, str(path))
    return save_operator(out, card, state)


def _from_folder(folder: Path, out: Path, operator: str | None, stack: str | None) -> Path:
    if out.suffix not in WEIGHTS_SUFFIXES:
        raise UsageError(f"{folder} is a folder: convert it into a file that ends in .pth")
    card = read_operator_card(folder)
    if operator not in (None, card.operator.name):
        raise UsageError(
            f"{folder} holds the operator {card.operator.name}, not {operator}: leave "
            "--operator out"
        )
    if stack is None and card.stack not in STACKS:
        raise UsageError(f"{folder} is of the stack {card.stack}: name its folder with --stack")
    of = open_stack(stack or card.stack, device="cpu")
    if of.name != card.stack:
        raise WeightsError(
            f"{folder} is of the stack {card.stack}, not {of.name}: name its folder with --stack"
        )
    state = without_stats(effective_state(of.tuned_prior(folder)))
    check_finite(state, str(folder), WeightsError)  # merging an adapter may overflow
    with new_folder(out.parent), atomic_path(out) as part, saving(out):
        torch.save(state, part)
    return out


def _operator_of(source: str | Path) -> Operator:
    """Find the operator that a path names, as `models/texturing/learned_prior.pth` does."""
    path = Path(str(source).rpartition(":")[2])
    named = [name for name in (path.stem, *reversed(path.parent.parts)) if name in OPERATORS]
    if not named:
        raise UsageError(
            f"{source} does not say which operator it is: add --operator, "
            f"one of {', '.join(OPERATORS)}"
        )
    return OPERATORS[named[0]]
