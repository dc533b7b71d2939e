"""The prior's condition tokens: packing of inputs, null inputs, dropping while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = [
    "Conditions",
    "Prompt",
    "condition_row",
    "drop_conditions",
    "null_conditions",
    "pack",
    "pack_prompts",
]


@dataclass(frozen=True)
class Conditions:
    """Packed condition tokens of N requests; K is the largest number of tokens among them."""

    tokens: Tensor  # (N, K, D), normalised; zero where dropped or padded
    mask: Tensor  # (N, K) bool; true where a slot is used, dropped or not
    pooled: Tensor | None = None  # (N, P) text embeddings of prompts; None: zeros

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Tensor) -> Conditions:
        """Pick requests.

        Args:
            index: The numbers (M,) of the requests.

        Returns:
            The conditions of those requests, in that order.
        """
        pooled = None if self.pooled is None else self.pooled[index]
        return Conditions(self.tokens[index], self.mask[index], pooled)


def condition_row(
    images: Sequence[Tensor | None], dim: int, text_hidden_states: Tensor | None = None
) -> Tensor:
    """Build the condition tokens of one request: its slots in order, then the text.

    Args:
        images: One normalised embedding (D,) for each slot; None for a dropped slot, which
            becomes a zero token.
        dim: The length D of an embedding.
        text_hidden_states: The hidden states (length, D) of the text, unpadded, with start and end
            token; None where there is no text.

    Returns:
        Tokens (k, D).
    """
    known = [image for image in images if image is not None]
    like = known[0] if known else torch.zeros(dim)
    slots = torch.stack([torch.zeros_like(like) if i is None else i for i in images])
    if text_hidden_states is None:
        return slots
    return torch.cat([slots, text_hidden_states.to(slots)])


@dataclass(frozen=True)
class Prompt:
    """A text as the base prior is given it."""

    hidden_states: Tensor  # (k, D) of the text encoder, unpadded
    text_embeds: Tensor  # (P,), for the pooled-text slot


def pack_prompts(prompts: Sequence[Prompt]) -> Conditions:
    """Pad the tokens of prompts to one length.

    Args:
        prompts: N prompts.

    Returns:
        The padded batch, its mask and its text embeddings.
    """
    packed = pack([prompt.hidden_states for prompt in prompts])
    return replace(packed, pooled=torch.stack([prompt.text_embeds for prompt in prompts]))


def pack(rows: Sequence[Tensor]) -> Conditions:
    """Pad the tokens of requests to one length.

    Args:
        rows: The tokens (k_i, D) of each request.

    Returns:
        The padded batch and its mask.
    """
    tokens = pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
    return Conditions(
        tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    )


def null_conditions(conditions: Conditions) -> Conditions:
    """Build the conditions of guidance's unconditional branch: the same slots, all dropped.

    Args:
        conditions: The conditions of the requests.

    Returns:
        Zero tokens with the same mask.
    """
    return Conditions(torch.zeros_like(conditions.tokens), conditions.mask)


def drop_conditions(
    tokens: Tensor,
    *,
    each: float = 0.0,
    all: float = 0.0,
    slots: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Drop conditions of training examples at random: they become zero, and stay visible.

    Draws N * (conditions + 1) uniform numbers, on the generator's device.

    Args:
        tokens: Normalised tokens (N, K, D).
        each: The chance of every condition to be dropped alone.
        all: The chance of all conditions of an example to be dropped together.
        slots: The number of first tokens that are a condition each; the tokens after them, a text,
            are one condition together. None: all tokens are conditions of their own.
        generator: The source of random numbers; None: torch's own.

    Returns:
        Tokens (N, K, D).
    """
    n, k = tokens.shape[:2]
    slots = k if slots is None else slots
    conditions = slots + (k > slots)
    device = generator.device if generator is not None else tokens.device
    uniforms = torch.rand(n, conditions + 1, generator=generator, device=device).to(tokens.device)
    dropped = (uniforms[:, :conditions] < each) | (uniforms[:, conditions:] < all)
    of_token = torch.arange(k, device=tokens.device).clamp(max=conditions - 1)
    return tokens.masked_fill(dropped[:, of_token, None], 0.0)
