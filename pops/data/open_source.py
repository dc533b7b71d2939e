"""Which source training reads: caches where they are given, else pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pops.data.cache.fingerprints import (
    encoder_digests,
    operator_traits,
    part_traits,
    settings_digest,
    stats_digest,
)
from pops.data.cache.format import read_index
from pops.data.cache.read import CachedSource
from pops.data.dataset import ExampleDataset, Part
from pops.data.online import OnlineSource
from pops.data.reader import RecipeSettings
from pops.data.recipes import Recipe
from pops.data.source import Source
from pops.errors import DataError
from pops.operators import Operator
from pops.stacks.stack import Stack

__all__ = ["check_cache", "open_source"]


def open_source(
    operator: Operator,
    recipe: Recipe,
    stack: Stack,
    *,
    datasets: Sequence[str] = (),
    caches: Sequence[str | Path] = (),
    settings: RecipeSettings | None = None,
    seed: int = 0,
    workers: int = 0,
    max_broken_share: float = 0.05,
) -> Source:
    """The examples of an operator: from `caches` where any are given, else from `datasets`.

    `settings`: with caches, what they must have been made with; None for whatever it was.

    Raises:
        DataError: a dataset is missing, or a cache is missing, not complete, or stale: made from
            another encoder, recipe, setting, or from a dataset that has changed since.
    """
    if not caches:
        dataset = ExampleDataset(
            operator, recipe, datasets, settings, seed=seed, max_broken_share=max_broken_share
        )
        return OnlineSource(dataset, stack, workers)
    for folder in caches:
        check_cache(Path(folder).expanduser(), operator, recipe, stack, settings)
    return CachedSource(caches, stack.clip_stats, operator, seed)


def check_cache(
    folder: Path,
    operator: Operator,
    recipe: Recipe,
    stack: Stack,
    settings: RecipeSettings | None = None,
) -> None:
    """DataError unless a cache is what would be made now from the same datasets.

    Datasets that are not on this machine, as they need not be, are taken to be what they were.
    """
    index = read_index(folder)
    now = replace(
        index,
        encoders=encoder_digests(stack, with_text=operator.takes_text),
        clip_stats=stats_digest(stack.clip_stats),
        operator=operator_traits(operator),
        recipe=recipe.name,
        recipe_version=recipe.version,
        settings=index.settings if settings is None else settings_digest(settings),
        datasets=[_relisted(known, recipe) for known in index.datasets],
    )
    if difference := now.difference(index):
        raise DataError(
            f"{folder} is stale, it was made with {difference}: make a new one with pops embed"
        )


def _relisted(known: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The traits of a dataset as it is now; as they were, where it is not on this machine."""
    place = known["place"]
    return part_traits(Part(place, recipe.read(place))) if Path(place).is_dir() else known
