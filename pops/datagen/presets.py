"""The presets: which words prompts are made of, and what answers each stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pops.datagen.config import GenerateConfig
from pops.datagen.stages import Stages
from pops.datagen.words import Words
from pops.errors import UsageError

__all__ = ["PRESETS", "Preset", "load_preset"]

WORD_LISTS = ("objects", "placements", "attributes")


@dataclass(frozen=True)
class Preset:
    """Words, stages and the side of a picture in pixels."""

    words: Words
    stages: Stages
    size: int

    @property
    def words_digest(self) -> str:
        """A short digest of all words: other words make other samples."""
        lists = [tuple(getattr(self.words, name)) for name in WORD_LISTS]
        return hashlib.sha256(repr(lists).encode()).hexdigest()[:16]


def load_preset(config: GenerateConfig) -> Preset:
    """The preset that the settings name, with their words and size.

    Raises:
        UsageError: the preset takes no such setting.
        InputError: a list of words cannot be read.
    """
    return PRESETS[config.preset](config)


def _word_paths(config: GenerateConfig) -> dict[str, Path]:
    paths = {name: getattr(config, f"{name}_path", None) for name in WORD_LISTS}
    return {name: path for name, path in paths.items() if path is not None}


def _pocket(config: GenerateConfig) -> Preset:
    from pops.datagen.pocket import POCKET_WORDS, pocket_stages

    if paths := _word_paths(config):
        raise UsageError(f"--{next(iter(paths))}_path: the pocket preset has words of its own")
    size = config.size or 64
    if size % 4:
        raise UsageError(f"--size must be a multiple of 4 for the pocket preset, not {size}")
    return Preset(POCKET_WORDS, pocket_stages(size), size)


PRESETS: dict[str, Callable[[GenerateConfig], Preset]] = {"pocket": _pocket}
