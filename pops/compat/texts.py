"""Inputs of the published commands that are made from texts: embedding files beside the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pops.compat.config import PublishedConfig
from pops.compose.calls import text
from pops.errors import InputError, UsageError
from pops.io.files import make_folder
from pops.io.names import name_of_words
from pops.settings.sampling import SamplingSettings

if TYPE_CHECKING:
    from pops.engine import Engine

__all__ = ["with_texts"]

PREFIX = "text:"
PUBLISHED = "kandinsky-2.2"  # the stack of the published models
FOLDER = "texts"  # in the folder of the results
Config = TypeVar("Config", bound=PublishedConfig)


def with_texts(config: Config, folder: Path, engine: Callable[[], Engine]) -> Config:
    """Make an embedding file of every input that is given as `text:WORDS`.

    A file that is there from the same text and the same settings is kept as it is, so that a
    command that was stopped goes on.

    Args:
        config: the settings of the command.
        folder: the folder of its results.
        engine: loads what makes embeddings from texts; called only where a file is missing.

    Returns:
        The settings with the files in the place of the texts.

    Raises:
        UsageError: a text is empty, or too long for the text encoder.
        OutputError: the folder cannot be written.
    """
    given = {name: getattr(config, name, None) for name in ("dir_a", "dir_b")}
    made: dict[str, Any] = {}
    for name, place in given.items():
        if place is None or not str(place).startswith(PREFIX) or place.exists():
            continue
        words = str(place).removeprefix(PREFIX).strip()
        if not words:
            raise UsageError(
                f"--{name}={PREFIX} has no words: write some, as in {PREFIX}rusty iron"
            )
        made[name] = _file(words, config, make_folder(folder / FOLDER), engine)
    return replace(config, **made)


def _file(words: str, config: PublishedConfig, folder: Path, engine: Callable[[], Engine]) -> Path:
    """Make the file of a text, sampled with the first seed of the operator."""
    seed = config.prior_seeds[0]
    plain = (config.steps, config.sampler) == (SamplingSettings.steps, SamplingSettings.sampler)
    how = [] if plain else [config.sampler, str(config.steps)]
    path = folder / f"{name_of_words([words, *how])}.safetensors"
    if not _is_made(path, str(text(words)), seed, config.stack or PUBLISHED):
        made = engine().text(words, seeds=[seed], steps=config.steps, sampler=config.sampler)
        made.save(path)
    return path


def _is_made(path: Path, expression: str, seed: int, stack: str) -> bool:
    from pops.io.embeddings import load_embeddings

    name = Path(stack).resolve().name if Path(stack).is_dir() else stack
    try:
        found = load_embeddings(path)
    except InputError:  # missing, or cut short
        return False
    return (found.expressions, found.seeds, found.stack) == ((expression,), (seed,), name)
