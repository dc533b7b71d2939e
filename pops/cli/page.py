"""The HTML page of a run that `--html` asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pops import __version__
from pops.figures import Cell
from pops.figures.page import run_page
from pops.io.files import atomic_path
from pops.search.config import FindConfig
from pops.settings.commands import ApplyConfig, RunConfig
from pops.settings.flags.spelling import spell_command
from pops.settings.flags.values import shown

__all__ = ["write_page"]


def write_page(
    path: Path,
    command: str,
    config: ApplyConfig | RunConfig | FindConfig,
    figures: Sequence[Image.Image],
    pictures: Sequence[Cell],
) -> None:
    """Write a page that holds everything of a run, and loads nothing.

    Args:
        path: the file to write.
        command: the name of the command.
        config: its settings.
        figures: the strips, trees and grids.
        pictures: the results, each with its caption.

    Raises:
        OutputError: the place cannot be written.
    """
    title = path.stem.replace("_", " ") if isinstance(config, ApplyConfig) else config.composition
    values = {one.name: getattr(config, one.name) for one in dataclasses.fields(config)}
    settings = {name: shown(value) for name, value in values.items() if value not in (None, (), {})}
    spelled = spell_command(f"pops {command}", config)
    page = run_page(title, figures, pictures, spelled, {**settings, "pops": __version__})
    with atomic_path(path) as part:
        # The name of a file need not be text: bytes that are not are shown as escapes.
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
