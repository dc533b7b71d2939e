"""The settings of training data, which `pops embed` and `pops train` share. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pops.errors import DataError, UsageError
from pops.io.names import expand_home
from pops.settings.fields import (
    ACTORS,
    BATCH,
    SEED,
    SHARE,
    WORKERS,
    PathOrName,
    PathsOrNames,
    Range,
    Settings,
    setting,
)
from pops.settings.groups import StackConfig

if TYPE_CHECKING:
    from pops.data.reader import RecipeSettings
    from pops.data.recipes import Recipe
    from pops.operators import Operator

__all__ = ["DataConfig", "EmbedConfig"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """The operator, its data, and how examples are made of them."""

    mode: str = setting(
        "texturing",
        "the operator: texturing, scene, union, instruct or clothes; base: the base prior of a "
        "stack, which learns from captions",
    )
    operator: Path | None = setting(
        None, "Python file that defines an OPERATOR and a RECIPE of your own, in place of mode"
    )
    dataset_path: PathsOrNames = setting(
        (), "folders of samples, each equally likely; for clothes also a dataset of the hub"
    )
    textures_dir: Path | None = setting(
        None, "texturing: take textures from this folder, for validation"
    )
    backgrounds_dir: Path | None = setting(
        None, "scene: paste half of the objects on a picture of this folder"
    )
    randoms_dir: Path | None = setting(
        None, "folder of any pictures, for the share of examples that has no conditions"
    )
    adjectives: PathOrName = setting(
        "adjectives", "instruct: file of adjectives, or a list of pops, as pocket_adjectives"
    )
    art_types: PathOrName = setting(
        "art_types", "instruct: file of kinds of art, or a list of pops; none: adjectives alone"
    )
    garment_side: int = setting(
        60,
        "clothes: pixels that the shorter side of a garment has at least",
        within=Range(0, 10_000),
    )
    garment_area: int = setting(
        1800, "clothes: pixels that a garment has at least", within=Range(0, 100_000_000)
    )
    max_broken_share: float = setting(
        0.05, "largest share of records that may be broken", within=SHARE
    )
    num_workers: int | None = setting(
        None, "processes that open pictures; null: one for each core, at most 8", within=WORKERS
    )

    def found(self) -> tuple[Operator, Recipe]:
        """Find the operator and its recipe.

        Returns:
            Both.

        Raises:
            UsageError: There is no operator of that name, or the file defines none.
        """
        from pops.data.recipes import find_recipe

        return find_recipe(self.mode, self.operator)

    def datasets(self) -> tuple[str, ...]:
        """Give the dataset paths, or the recipe's default dataset.

        Returns:
            Folders, or names of datasets of the hub.

        Raises:
            UsageError: There is neither.
        """
        _, recipe = self.found()
        if self.dataset_path:
            return self.dataset_path
        if recipe.default_dataset is None:
            raise UsageError(
                "--dataset_path is not given: name one or more folders of samples, such as "
                "pops generate makes"
            )
        return (recipe.default_dataset,)

    def recipe_settings(self) -> RecipeSettings:
        """Give the recipe's settings, with its folders and word lists read.

        Returns:
            The settings.

        Raises:
            DataError: A folder holds no picture, or the list of adjectives is empty.
        """
        from pops.data.reader import RecipeSettings
        from pops.data.word_lists import read_words

        adjectives = read_words(self.adjectives)
        if not adjectives:
            raise DataError(f"{self.adjectives} holds no adjective: write one a line")
        return RecipeSettings(
            textures=_pictures(self.textures_dir),
            backgrounds=_pictures(self.backgrounds_dir),
            randoms=_pictures(self.randoms_dir),
            adjectives=adjectives,
            art_types=read_words(self.art_types),
            garment_side=self.garment_side,
            garment_area=self.garment_area,
        )

    @property
    def workers(self) -> int:
        """The number of processes that open pictures."""
        return min(8, os.cpu_count() or 1) if self.num_workers is None else self.num_workers


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(StackConfig, DataConfig):
    """Encode a dataset once, so that training needs no encoder.

    Writes some variants of every record into a folder that pops train reads by --cache. The random
    choices of a variant, such as its crops, are made once and kept. Run the command again to go on
    where it was stopped. Several machines can share the work: give each the same settings and
    folder, and its own --shard.
    """

    out: Path = setting(Path("caches/embeds"), "folder to write into")
    variants: int = setting(
        8, "examples of each record, each with random choices of its own", within=Range(1, 10_000)
    )
    seed: int = setting(0, "seed of the random choices", within=SEED)
    shard: str = setting("0/1", "i/n: this is machine i of n, counted from 0")
    batch: int = setting(32, "pictures in one call of the encoder", within=BATCH)
    shard_records: int = setting(
        256, "records in one file; a killed run loses no more", within=Range(1, 1_000_000)
    )
    engine: Literal["local", "ray"] = setting(
        "local", "where the work is done; local: in this process; ray: on a Ray cluster"
    )
    actors: int = setting(
        1, "processes on a Ray cluster that encode, each a file at a time", within=ACTORS
    )
    ray_address: str | None = setting(
        None, "address of a running Ray cluster; null: start one on this machine"
    )

    resumes = True
    examples = (
        "pops embed --mode=texturing --dataset_path=data/texturing --out=caches/texturing",
        "pops embed --mode=scene --dataset_path=data/one,data/two --backgrounds_dir=data/places "
        "--variants=16 --out=caches/scene",
        "pops embed --mode=clothes --stack=kandinsky-2.2 --shard=0/4 --out=/shared/clothes",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.part

    @property
    def part(self) -> tuple[int, int]:
        """(number, count) of this machine's part of the work; UsageError for a wrong --shard."""
        from pops.settings.shard import Shard

        shard = Shard.parse(self.shard)
        return shard.number, shard.count


def _pictures(folder: Path | None) -> tuple[Path, ...]:
    if folder is None:
        return ()
    from pops.data.records.layouts import find_pictures

    found = tuple(find_pictures(expand_home(folder)))
    if not found:
        raise DataError(f"{folder} holds no picture: name another folder")
    return found
