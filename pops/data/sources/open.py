"""Opening the source that training reads: caches where they are given, pictures otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from pops.data.cache.fingerprints import (
    dataset_traits,
    encoder_digests,
    operator_traits,
    settings_digest,
    stats_digest,
)
from pops.data.cache.format import DatasetTraits, read_index
from pops.data.cache.read import CachedSource
from pops.data.dataset import ExampleDataset, ListedDataset
from pops.data.reader import RecipeSettings
from pops.data.recipes import Recipe
from pops.data.sources.batches import BatchSource
from pops.data.sources.online import OnlineSource
from pops.errors import DataError
from pops.io.names import expand_home
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
) -> BatchSource:
    """Open the examples of an operator: from caches where any are given, else from datasets.

    Args:
        operator: The operator.
        recipe: Its recipe.
        stack: The stack whose encoders make the embeddings.
        datasets: Folders of samples, or names of datasets of the hub.
        caches: Folders that `pops embed` has written.
        settings: The settings of the recipe. Caches must have been made with them; None for
            whatever settings they were made with.
        seed: The seed of the order and of the random choices.
        workers: The number of processes that open pictures.
        max_broken_share: The share of records that may be broken.

    Returns:
        The source.

    Raises:
        DataError: A dataset is missing, or a cache is missing, not complete, or stale: made from
            another encoder, recipe or setting, or from a dataset that has changed since.
    """
    if not caches:
        dataset = ExampleDataset(
            operator, recipe, datasets, settings, seed=seed, max_broken_share=max_broken_share
        )
        return OnlineSource(dataset, stack, workers)
    for folder in caches:
        check_cache(expand_home(folder), operator, recipe, stack, settings)
    return CachedSource(caches, stack.clip_stats, operator, seed)


def check_cache(
    folder: Path,
    operator: Operator,
    recipe: Recipe,
    stack: Stack,
    settings: RecipeSettings | None = None,
) -> None:
    """Check that a cache holds what would be made now from the same datasets.

    Datasets need not be on this machine; those that are not are taken to be unchanged.

    Args:
        folder: The cache.
        operator: The operator that is trained.
        recipe: Its recipe.
        stack: The stack that is trained on.
        settings: The settings of the recipe; None for whatever the cache was made with.

    Raises:
        DataError: The cache is missing, damaged or stale.
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
            f"{folder} is stale, since it was made with {difference}: make a new cache with "
            "pops embed"
        )


def _relisted(known: DatasetTraits, recipe: Recipe) -> DatasetTraits:
    """Describe a dataset as it is now, or as it was where it is not on this machine."""
    place = known.place
    return (
        dataset_traits(ListedDataset(place, recipe.read(place))) if Path(place).is_dir() else known
    )
