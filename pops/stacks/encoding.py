"""Encode the inputs of operators by a stack: pictures, embeddings that are there already, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pops.errors import InputError, NotFiniteError
from pops.io.pictures import open_picture
from pops.io.requests import Request, check_finite_rows
from pops.io.sources import Source, given_embedding, source_key
from pops.prior.conditions import Prompt, condition_row
from pops.prior.model import Prior
from pops.settings.progress import Progress
from pops.stacks.clip import TextEncoding
from pops.stacks.known import warn_of_unknown
from pops.stacks.stack import Stack

__all__ = [
    "check_stack",
    "condition_tokens",
    "encode_sources",
    "encode_texts",
    "given_row",
    "make_prompts",
]

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
        NotFiniteError: an embedding is not finite.
    """
    keys = [source_key(source) for source in sources]
    distinct = dict(zip(keys, sources, strict=True))
    known = {key: given_row(stack, source) for key, source in distinct.items()}
    todo = [key for key, embedding in known.items() if embedding is None]
    known |= _encode_pictures(stack, {key: distinct[key] for key in todo}, progress)
    rows = [known[key][None] for key in keys]  # type: ignore[index]
    embeds = torch.cat([torch.zeros(0, stack.prior_config.embedding_dim), *rows])
    named = [s if isinstance(s, str | Path) else f"input {at}" for at, s in enumerate(sources)]
    check_finite_rows(embeds, [1] * len(sources), [str(name) for name in named])
    return embeds


def _encode_pictures(
    stack: Stack, sources: Mapping[object, Source], progress: Progress | None
) -> dict[object, Tensor]:
    """Encode pictures by key, few of them open at a time; an offloaded encoder moves only once."""
    keys = list(sources)
    made: dict[object, Tensor] = {}
    if not keys:
        return made
    encoder = stack.image_encoder
    with stack.placement.using(encoder.model):
        for start in range(0, len(keys), OPENED):
            batch = keys[start : start + OPENED]
            pictures = [open_picture(sources[key]) for key in batch]  # type: ignore[arg-type]
            made |= zip(batch, encoder.encode(pictures), strict=True)
            if progress is not None:
                progress("encode", start + len(batch), len(keys))
    return made


def condition_tokens(
    stack: Stack,
    prior: Prior,
    requests: Sequence[Request],
    texts: Sequence[str | None],
    progress: Progress | None = None,
) -> list[Tensor]:
    """Make the condition tokens of requests to an operator.

    Args:
        stack: the stack that encodes the inputs.
        prior: the prior of the operator, which normalises them.
        requests: N requests, one source for every slot.
        texts: the text of each request, or None.
        progress: called with "encode", how many are done, and how many there are.

    Returns:
        N tensors (k, D), normalised, on the CPU in float32.

    Raises:
        InputError: a source cannot be read, or is an embedding of another stack.
        NotFiniteError: the embedding of a source is not finite; `rows` are the requests.
    """
    sources = [source for request in requests for source in request if source is not None]
    try:
        embeds = encode_sources(stack, sources, progress).to(prior.clip_mean.device)
    except NotFiniteError as error:  # its rows number the sources, not the requests
        owners = [at for at, one in enumerate(requests) for source in one if source is not None]
        raise NotFiniteError(str(error), sorted({owners[row] for row in error.rows})) from None
    tokens = iter(prior.normalise(embeds).cpu())
    slots = [[None if s is None else next(tokens) for s in request] for request in requests]
    words = list(dict.fromkeys(text for text in texts if text is not None))
    hidden = _hidden_states(stack, words) if words else {}
    dim = stack.prior_config.embedding_dim
    return [
        condition_row(given, dim, None if text is None else hidden[text])
        for given, text in zip(slots, texts, strict=True)
    ]


def _hidden_states(stack: Stack, texts: Sequence[str]) -> dict[str, Tensor]:
    """Compute the hidden states (tokens, D) of the text encoder, by text."""
    warn_of_unknown(stack.name, stack.known_words, texts)
    encoded = encode_texts(stack, texts)
    return {text: one.hidden_states for text, one in zip(texts, encoded, strict=True)}


def encode_texts(stack: Stack, texts: Sequence[str]) -> list[TextEncoding]:
    """Encode texts.

    Args:
        stack: the stack that encodes them.
        texts: the texts.

    Returns:
        Their encodings, in order.

    Raises:
        UsageError: a text has more tokens than the text encoder takes.
    """
    encoder = stack.text_encoder
    with stack.placement.using(encoder.model):
        return encoder.encode(texts)


def make_prompts(
    stack: Stack, texts: Sequence[str], negatives: Sequence[str]
) -> list[tuple[Prompt, Prompt]]:
    """Encode texts for the base prior; each distinct one is encoded once.

    Args:
        stack: the stack that encodes them.
        texts: N texts.
        negatives: for each the text that guidance leads away from.

    Returns:
        N pairs of a prompt and its negative one.

    Raises:
        UsageError: a text has more tokens than the text encoder takes.
    """
    warn_of_unknown(stack.name, stack.known_words, texts)
    distinct = list(dict.fromkeys([*texts, *negatives]))
    encoded = zip(distinct, encode_texts(stack, distinct), strict=True)
    prompts = {text: Prompt(one.hidden_states, one.text_embeds) for text, one in encoded}
    return [(prompts[text], prompts[away]) for text, away in zip(texts, negatives, strict=True)]


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
            f"{named} holds embeddings of {embeds.shape[-1]} numbers, of the stack "
            f"{made_by or 'unknown'}, but {stack.name} has embeddings of {dim}: encode the "
            "picture with this one"
        )
