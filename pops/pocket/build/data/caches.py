"""Stage `caches`: training examples of the operators, in the form that `pops train` reads."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pops.data.cache.fingerprints import (
    encoder_digests,
    operator_traits,
    settings_digest,
    stats_digest,
)
from pops.data.cache.format import CacheIndex, CacheShard, DatasetTraits, write_index, write_shard
from pops.data.reader import RecipeSettings
from pops.data.recipes import find_recipe
from pops.io.files import make_folder
from pops.operators import Operator
from pops.pocket.build.data.pool import Example, Recipe
from pops.pocket.world.split import SPLIT_NAME
from pops.prior.conditions import drop_conditions
from pops.stacks.stack import Stack

__all__ = ["write_cache"]

RECORDS, VARIANTS = 16384, 8


def write_cache(folder: Path, recipe: Recipe, stack: Stack, records: int = RECORDS) -> None:
    """Draw examples into a cache of one shard, as `pops embed` would write it.

    Args:
        folder: the folder of the cache.
        recipe: what makes the examples.
        stack: the encoders that made the recipe's embeddings; it encodes the texts.
        records: the number of records; each has `VARIANTS` examples.
    """
    _, published = find_recipe(recipe.operator.name)
    index = CacheIndex(
        stack=stack.name,
        encoders=encoder_digests(stack, with_text=recipe.operator.takes_text),
        clip_stats=stats_digest(stack.clip_stats),
        dim=stack.prior_config.embedding_dim,
        operator=operator_traits(recipe.operator),
        recipe=published.name,
        recipe_version=published.version,
        settings=settings_digest(RecipeSettings()),
        datasets=[DatasetTraits(place=SPLIT_NAME, records=records, listing=SPLIT_NAME)],
        variants=VARIANTS,
        seed=0,
        shard_records=records,
    )
    write_index(make_folder(folder), index)
    said = stack.text_encoder.encode(recipe.texts) if recipe.texts else []
    tokens = {text: one.hidden_states for text, one in zip(recipe.texts, said, strict=True)}
    write_shard(folder, 0, _shard(recipe, tokens, records))


def _shard(recipe: Recipe, tokens: Mapping[str, Tensor], records: int) -> CacheShard:
    count = records * VARIANTS
    slots = len(recipe.operator.inputs)
    texts = {text: number for number, text in enumerate(tokens)}
    dropped = _dropped(recipe.operator, count)
    row_of: dict[bytes, int] = {}
    rows = np.full((count, 1 + slots), -1, dtype=np.int32)
    words = np.full((count, 3), -1, dtype=np.int32)
    for number, example in enumerate(_examples(recipe, count)):
        row = [recipe.pool.pictures[example.target], *example.slots]
        for at, embed in enumerate(row):
            if embed is not None and not (at > 0 and dropped[number, at - 1]):
                key = embed.half().numpy().tobytes()
                rows[number, at] = row_of.setdefault(key, len(row_of))
        if example.text is not None:
            words[number, :2] = texts[example.text], dropped[number, -1]
    dim = recipe.pool.pictures.shape[1]
    embeds = np.frombuffer(b"".join(row_of), dtype=np.float16).reshape(-1, dim)
    shape = (records, VARIANTS, -1)
    shard = CacheShard(list(range(records)), embeds, rows.reshape(shape))
    if texts:
        shard.text_rows, shard.texts = words.reshape(shape), list(texts)
        shard.lengths = [len(own) for own in tokens.values()]
        shard.text_tokens = torch.cat(list(tokens.values())).half().numpy()
        shard.target_embeds = np.zeros((0, dim), np.float16)
    return shard


def _examples(recipe: Recipe, count: int) -> Iterator[Example]:
    rng = random.Random(f"caches/{recipe.operator.name}")
    while count:
        example = recipe.example(rng)
        if example is not None:
            count -= 1
            yield example


def _dropped(operator: Operator, count: int) -> Tensor:
    """Draw which conditions are dropped, by the operator's chances: (count, conditions) bool."""
    conditions = len(operator.inputs) + operator.takes_text
    kept = drop_conditions(
        torch.ones(count, conditions, 1),
        each=operator.drop_each,
        all=operator.drop_all,
        generator=torch.Generator().manual_seed(0),
    )
    return kept[..., 0] == 0
