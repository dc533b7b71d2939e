"""Requests to operators: one source for every slot, and how results are told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from pops.errors import NotFiniteError, UsageError
from pops.io.sources import Source

__all__ = [
    "Request",
    "as_requests",
    "check_finite_rows",
    "each_text",
    "named_rows",
    "narrow",
    "not_finite",
]

Item = TypeVar("Item")
Request = Sequence[Source | None]  # one source for every slot; None drops the slot


def as_requests(inputs: Request | Sequence[Request]) -> list[Request]:
    """Take a single request as a list of one.

    Args:
        inputs: requests, each a list or tuple of sources; or the sources of a single request.

    Returns:
        The requests.

    Raises:
        UsageError: the inputs are neither.
    """
    given = inputs if isinstance(inputs, Sequence) and not isinstance(inputs, str) else None
    several = [isinstance(one, list | tuple) for one in given or ()]
    if given is None or (any(several) and not all(several)):
        raise UsageError(
            "the inputs are neither one request nor a list of requests: write one as "
            "('mug.png', 'wood.png'), several as [('mug.png', 'wood.png'), ('cup.png', 'ice.png')]"
        )
    return list(inputs) if all(several) else [inputs]  # type: ignore[arg-type, list-item]


def each_text(text: str | Sequence[str | None] | None, requests: int) -> list[str | None]:
    """Give every request its text.

    Args:
        text: one text for all requests, or one each.
        requests: the number of requests.

    Returns:
        A text, or None, for each request.

    Raises:
        UsageError: there are texts for another number of requests.
    """
    if text is None or isinstance(text, str):
        return [text] * requests
    if len(text) != requests:
        raise UsageError(f"{len(text)} texts for {requests} requests: give one, or one each")
    return list(text)


def check_finite_rows(embeds: Tensor, counts: Sequence[int], names: Sequence[str]) -> None:
    """Check that all numbers of embeddings are finite.

    Args:
        embeds: embeddings (N, D), those of a request one after another.
        counts: the number of embeddings of each request, N in all.
        names: the name of each request, or nothing where they have none.

    Raises:
        NotFiniteError: some are not; it names their requests.
    """
    finite = embeds.isfinite().all(dim=1)
    if finite.all():
        return
    requests = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    at = requests[~finite].unique().tolist()
    raise not_finite(names, at)


def narrow(items: Sequence[Item], is_faulty: Callable[[Sequence[Item]], bool]) -> list[int]:
    """Find the faulty ones among items of which only several together can be tried.

    Args:
        items: items that are faulty together.
        is_faulty: tells whether some of them are.

    Returns:
        The numbers of those that are faulty alone; of all items where none is.
    """

    def search(at: Sequence[int]) -> list[int]:
        if not is_faulty([items[i] for i in at]):
            return []
        half = len(at) // 2
        return [*search(at[:half]), *search(at[half:])] if half else list(at)

    everything = list(range(len(items)))
    half = len(items) // 2
    return (search(everything[:half]) + search(everything[half:]) if half else []) or everything


def not_finite(names: Sequence[str], rows: Sequence[int]) -> NotFiniteError:
    """Make the error for requests whose embeddings are not finite.

    Args:
        names: the name of each request, or nothing where they have none.
        rows: the numbers of those whose embeddings are not finite.

    Returns:
        The error, which names them.
    """
    return NotFiniteError(
        f"the embedding of {named_rows(rows, names)} is not finite: an input is too large, or "
        "weights are damaged; where the models are in float16, try --dtype float32",
        rows,
    )


def named_rows(rows: Sequence[int], names: Sequence[str]) -> str:
    """Name the first of some rows, and say how many more there are.

    Args:
        rows: the numbers of the rows, at least one.
        names: the names of all rows, or nothing where they have none.

    Returns:
        Words for an error message.
    """
    first = names[rows[0]] if names else f"number {rows[0]}"
    return first if len(rows) == 1 else f"{first} and of {len(rows) - 1} more"
