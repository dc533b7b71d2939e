"""The presets: the words of prompts, and the models that answer each stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pops.datagen.config import GenerateConfig
from pops.datagen.models.registry import (
    FAITHFUL,
    PERMISSIVE,
    PICTURE_SIDE,
    RMBG_BY_ITS_OWN_CODE,
    ModelRow,
    describe_model,
    read_models,
)
from pops.datagen.stages import Picture, Stages
from pops.datagen.words import PromptWords, read_prompt_words, shipped_words
from pops.errors import UsageError
from pops.io.pictures import open_picture

__all__ = ["PRESETS", "GenerationPreset", "load_preset"]

WORD_LISTS = ("objects", "placements", "attributes")


def open_file(path: Path) -> Picture:
    """Open a picture file; InputError where it cannot be read."""
    return Picture(open_picture(path))


@dataclass(frozen=True)
class GenerationPreset:
    """The words of prompts, the stages, and the side of a picture in pixels."""

    words: PromptWords
    stages: Stages
    size: int
    open: Callable[[Path], Picture] = open_file  # opens a picture file for the stages

    @property
    def words_digest(self) -> str:
        """A short digest of all words: other words make other samples."""
        lists = [tuple(getattr(self.words, name)) for name in WORD_LISTS]
        return hashlib.sha256(repr(lists).encode()).hexdigest()[:16]


def load_preset(config: GenerateConfig) -> GenerationPreset:
    """Make the preset that the settings name, with their words and size.

    Args:
        config: The settings of the command.

    Returns:
        The preset; none of its models is loaded yet.

    Raises:
        UsageError: The preset takes no such setting.
        InputError: A list of words cannot be read.
    """
    return PRESETS[config.preset](config)


def _word_paths(config: GenerateConfig) -> dict[str, Path]:
    paths = {name: getattr(config, f"{name}_path", None) for name in WORD_LISTS}
    return {name: path for name, path in paths.items() if path is not None}


def _pocket(config: GenerateConfig) -> GenerationPreset:
    from pops.datagen.pocket.pictures import open_scene_picture
    from pops.datagen.pocket.prompts import POCKET_WORDS
    from pops.datagen.pocket.stages import pocket_stages

    if paths := _word_paths(config):
        raise UsageError(
            f"--{next(iter(paths))}_path: the pocket preset has words of its own: leave it out"
        )
    size = config.size or 64
    if size % 4:
        raise UsageError(f"--size must be a multiple of 4 for the pocket preset, not {size}")
    return GenerationPreset(POCKET_WORDS, pocket_stages(size), size, open_scene_picture)


def _of_models(config: GenerateConfig, rows: dict[str, ModelRow]) -> GenerationPreset:
    """Make a preset of models: those of its rows, or those that the settings name instead."""
    own = read_models(config.models, rows)
    lists = {name: shipped_words(name) for name in WORD_LISTS}
    lists |= {name: read_prompt_words(path) for name, path in _word_paths(config).items()}
    if config.size is not None:
        raise UsageError(
            "--size works with the pocket preset only, since models make pictures of their "
            "own size: leave it out"
        )
    if config.trust_remote_code and "segment" not in own:
        rows = rows | {"segment": RMBG_BY_ITS_OWN_CODE}
    loaders, models = {}, {}
    for stage, row in rows.items():
        place = own.get(stage, row.place)
        models[stage] = describe_model(place)
        loaders[stage] = partial(row.load, place, config.device)
    return GenerationPreset(PromptWords(**lists), Stages(loaders, models), PICTURE_SIDE)


PRESETS: dict[str, Callable[[GenerateConfig], GenerationPreset]] = {
    "pocket": _pocket,
    "faithful": lambda config: _of_models(config, FAITHFUL),
    "permissive": lambda config: _of_models(config, PERMISSIVE),
}
