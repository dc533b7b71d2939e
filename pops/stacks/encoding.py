"""Encode the inputs of operators by a stack: pictures, embeddings that are there already, texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pops.errors import InputError
from pops.io.pictures import open_picture
from pops.io.sources import Source, given_embedding, source_key
from pops.settings.progress import Progress
from pops.stacks.stack import Stack

__all__ = ["check_stack", "encode_sources", "encode_texts", "given_row"]

OPENED = 32  # pictures held open at a time


def encode_sources(
    stack: Stack, sources: Sequence[Source], progress: Progress | None = None
) -> Tensor:
    """Encode sources; each distinct one is opened and encoded once.

    Args:
        stack: the stack that encodes them.
        sources: N pictures or embeddings.
        progress: called with "encode", how many are done, and how many there are.

    Returns:
        Embeddings (N, D) float32 in un-normalised CLIP space, in order.

    Raises:
        InputError: a source cannot be read, or is an embedding of another stack.
    """
    keys = [source_key(source) for source in sources]
    distinct = dict(zip(keys, sources, strict=True))
    known = {key: given_row(stack, source) for key, source in distinct.items()}
    todo = [key for key, embedding in known.items() if embedding is None]
    for start in range(0, len(todo), OPENED):
        batch = todo[start : start + OPENED]
        pictures = [open_picture(distinct[key]) for key in batch]  # type: ignore[arg-type]
        encoder = stack.image_encoder
        with stack.placement.using(encoder.model):
            known |= zip(batch, encoder.encode(pictures), strict=True)
        if progress is not None:
            progress("encode", start + len(batch), len(todo))
    rows = [known[key][None] for key in keys]  # type: ignore[index]
    return torch.cat([torch.zeros(0, stack.prior_config.embedding_dim), *rows])


def encode_texts(stack: Stack, texts: Sequence[str]) -> dict[str, Tensor]:
    """Encode texts as the condition tokens of operators that take one.

    Args:
        stack: the stack that encodes them.
        texts: distinct texts.

    Returns:
        By text the hidden states (tokens, D) of the text encoder.
    """
    encoder = stack.text_encoder
    with stack.placement.using(encoder.model):
        encoded = encoder.encode(texts)
    return {text: one.hidden_states for text, one in zip(texts, encoded, strict=True)}


def given_row(stack: Stack, source: Source) -> Tensor | None:
    """Read the embedding that a source is or holds.

    Args:
        stack: the stack that the embedding must be of.
        source: a picture or an embedding.

    Returns:
        The embedding (D,), or None for a picture.

    Raises:
        InputError: the file cannot be read, or the embedding is of another stack.
    """
    given = given_embedding(source)
    if given is None:
        return None
    named = str(source) if isinstance(source, str | Path) else "input"
    check_stack(stack, given.image_embeds, given.stack, named)
    return given.image_embeds[0]


def check_stack(stack: Stack, embeds: Tensor, made_by: str | None, named: str) -> None:
    """Check that embeddings are of a stack.

    Args:
        stack: the stack that they must be of.
        embeds: embeddings (N, D).
        made_by: the name of the stack that made them, where that is known.
        named: what they are called in the error.

    Raises:
        InputError: they are of another stack or length.
    """
    dim = stack.prior_config.embedding_dim
    if made_by not in (None, stack.name) or embeds.shape[-1] != dim:
        raise InputError(
            f"{named}: {embeds.shape[-1]} numbers, of the stack {made_by or 'unknown'}, but "
            f"{stack.name} has embeddings of {dim}: encode the picture with this one"
        )
