"""Retrieval: how well embeddings find what they should among many."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Retrieval", "cosine_ranks", "mean_retrieval", "measure_retrieval"]


@dataclass(frozen=True)
class Retrieval:
    """How near queries are to the gallery rows that are right for them."""

    cosine: float  # to the best right row, mean over the queries
    top1: float  # share of queries to which no other row is nearer
    top5: float  # share of queries to which fewer than five other rows are nearer
    mean_rank: float  # of the best right row among all rows that are not right; 1 is best


def cosine_ranks(
    queries: Tensor, gallery: Tensor, right: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank a gallery by cosine for each query.

    Args:
        queries: (Q, D).
        gallery: (G, D).
        right: (Q, G) of booleans, the rows that are right for each query; None where the row of
            the same number is, and no other.

    Returns:
        (cosine, rank, nearest), each (Q,): the cosine to the best right row, its rank among the
        rows that are not right, from 1, and the number of the nearest row of all.
    """
    likeness = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T
    if right is None:
        right = torch.eye(len(queries), len(gallery), dtype=torch.bool, device=likeness.device)
    best = likeness.masked_fill(~right, -torch.inf).amax(1)
    rank = 1 + ((likeness > best[:, None]) & ~right).sum(1)
    return best, rank, likeness.argmax(1)


def mean_retrieval(cosine: Tensor, rank: Tensor) -> Retrieval:
    """Take the means over all queries.

    Args:
        cosine: (Q,), the cosine of each query to its best right row.
        rank: (Q,), the rank of that row, from 1.

    Returns:
        The means.
    """
    return Retrieval(
        cosine=float(cosine.mean()),
        top1=float((rank == 1).float().mean()),
        top5=float((rank <= 5).float().mean()),
        mean_rank=float(rank.float().mean()),
    )


def measure_retrieval(queries: Tensor, gallery: Tensor, right: Tensor | None = None) -> Retrieval:
    """Measure how well queries find their right rows in a gallery.

    Args:
        queries: (Q, D).
        gallery: (G, D).
        right: (Q, G) of booleans, as of `cosine_ranks`.

    Returns:
        The means over all queries.
    """
    cosine, rank, _ = cosine_ranks(queries, gallery, right)
    return mean_retrieval(cosine, rank)
