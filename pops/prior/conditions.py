"""From inputs to the prior's condition tokens: packing, null inputs, dropping while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["Conditions", "condition_row", "drop_conditions", "null_conditions", "pack"]


@dataclass(frozen=True)
class Conditions:
    """Packed condition tokens of N requests; K is the largest number of tokens among them."""

    tokens: Tensor  # (N, K, D), normalised; zero where dropped or padded
    mask: Tensor  # (N, K) bool; true where a slot is used, dropped or not

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Tensor) -> Conditions:
        """The requests `index` (M,), in that order."""
        return Conditions(self.tokens[index], self.mask[index])


def condition_row(
    images: Sequence[Tensor | None], dim: int, text_hidden_states: Tensor | None = None
) -> Tensor:
    """The tokens (k, D) of one request: its slots in order, then the text.

    `images`: one normalised embedding (D,) per slot, None for a dropped slot, which becomes a zero
    token. `text_hidden_states`: (length, D), unpadded, with start and end token.
    """
    known = [image for image in images if image is not None]
    like = known[0] if known else torch.zeros(dim)
    slots = torch.stack([torch.zeros_like(like) if i is None else i for i in images])
    if text_hidden_states is None:
        return slots
    return torch.cat([slots, text_hidden_states.to(slots)])


def pack(rows: Sequence[Tensor]) -> Conditions:
    """Rows (k_i, D) of different length as one padded batch and its mask."""
    tokens = pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
    return Conditions(
        tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    )


def null_conditions(conditions: Conditions) -> Conditions:
    """The unconditional branch of guidance: the same slots, all of them dropped."""
    return Conditions(torch.zeros_like(conditions.tokens), conditions.mask)


def drop_conditions(
    tokens: Tensor,
    *,
    each: float = 0.0,
    all: float = 0.0,
    slots: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Training tokens (N, K, D) with conditions dropped at random: zeroed, still visible.

    `each`: chance of every condition alone; `all`: chance of all of a sample together. The first
    `slots` tokens are conditions of their own (default: all tokens), the rest, a text, are one.
    Draws N * (conditions + 1) uniforms from `generator`, on the generator's device.
    """
    n, k = tokens.shape[:2]
    slots = k if slots is None else slots
    conditions = slots + (k > slots)
    device = generator.device if generator is not None else tokens.device
    uniforms = torch.rand(n, conditions + 1, generator=generator, device=device).to(tokens.device)
    dropped = (uniforms[:, :conditions] < each) | (uniforms[:, conditions:] < all)
    of_token = torch.arange(k, device=tokens.device).clamp(max=conditions - 1)
    return tokens.masked_fill(dropped[:, of_token, None], 0.0)
