"""Checks that the files of a shard fit one another and the index of their cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pops.data.cache.format import CacheIndex, CacheShard

__all__ = ["find_fault"]


def find_fault(shard: CacheShard, index: CacheIndex, ordinals: range) -> str | None:
    """Find the first thing in a shard that cannot be.

    Args:
        shard: The shard, as its files say.
        index: The index of its cache.
        ordinals: The numbers of the records of the shard.

    Returns:
        The fault in words; None where all is well.
    """
    broken = [int(key) if key.isdecimal() else -1 for key in shard.broken]
    known = shard.records + broken
    if len(set(known)) < len(known) or not set(known) <= set(ordinals):
        return "its records are not those of the shard"
    if index.operator.takes_text and shard.records and not shard.texts:
        return "its texts are missing"
    if shard.texts and not index.operator.takes_text:
        return "it has texts, but its operator takes none"
    return _shape_fault(shard, index) or _row_fault(shard) or _text_fault(shard)


def _shape_fault(shard: CacheShard, index: CacheIndex) -> str | None:
    slots = len(index.operator.inputs)
    wanted: dict[str, tuple[Sequence[int | None], type]] = {
        "embeds": ((None, index.dim), np.float16),
        "rows": ((len(shard.records), index.variants, 1 + slots), np.int32),
        "text_rows": ((len(shard.records), index.variants, 3), np.int32),
        "text_tokens": ((sum(shard.lengths), index.dim), np.float16),
        "target_embeds": ((len(shard.target_texts), index.dim), np.float16),
    }
    for kind, (shape, number) in wanted.items():
        array = getattr(shard, kind)
        if array is None:
            continue
        alike = len(array.shape) == len(shape) and all(
            length in (None, own) for length, own in zip(shape, array.shape, strict=True)
        )
        if array.dtype != number or not alike:
            return f"{kind} is {array.shape} {array.dtype}"
    return None


def _row_fault(shard: CacheShard) -> str | None:
    if not _within(shard.rows[..., 1:], -1, len(shard.embeds)):
        return "an input is not a row of its embeddings"
    if not _within(shard.rows[..., 0], 0, len(shard.embeds)):
        return "a target is not a row of its embeddings"
    return None


def _text_fault(shard: CacheShard) -> str | None:
    if shard.text_rows is None or shard.target_embeds is None:
        return None
    if len(shard.lengths) != len(shard.texts) or len(set(shard.texts)) < len(shard.texts):
        return "its texts and their lengths are not of one number"
    limits = ((0, len(shard.texts)), (0, 2), (-1, len(shard.target_embeds)))
    for column, (first, end) in enumerate(limits):
        if not _within(shard.text_rows[..., column], first, end):
            return "a text is not among those that are there"
    return None


def _within(rows: np.ndarray, first: int, end: int) -> bool:
    return not rows.size or bool(rows.min() >= first and rows.max() < end)
