"""The files of strips, and whether those that are there are what would be written again."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from pops.compat.config import PublishedConfig
from pops.compat.strips import Strip
from pops.operators import Operator

__all__ = ["StripFiles"]

# Settings that change neither the files nor the numbers in them, or are told strip by strip.
UNTOLD = frozenset(
    ("dir_a", "dir_b", "file_exts_a", "file_exts_b", "name_filter_a", "name_filter_b", "texts")
    + ("output_dir_name", "device", "offload", "overwrite", "prior_path", "prior_repo")
)


class StripFiles:
    """Names the files of the strips of one command, and knows those that are complete.

    The picture of a strip is written last, and its comment tells what it was made from.

    Args:
        config: the settings of the command.
        operator: the row of the operator.
        folder: the folder to write into.
    """

    def __init__(self, config: PublishedConfig, operator: Operator, folder: Path) -> None:
        self.config = config
        self.folder = folder
        settings = {f.name: getattr(config, f.name) for f in fields(config)}
        self._settings: dict[str, Any] = {
            **{name: value for name, value in settings.items() if name not in UNTOLD},
            "operator": operator.name,
            "weights": [config.weights, _stamp(Path(config.weights or ""))],
        }

    def picture(self, strip: Strip) -> Path:
        """Give the path of a strip's picture.

        Args:
            strip: the strip.

        Returns:
            A path that ends in `.jpg`.
        """
        return self.folder / f"{strip.name}.jpg"

    def embedding(self, strip: Strip, seed: int, scale: float) -> Path:
        """Give the path of an embedding, by the published pattern of names.

        Args:
            strip: the strip that shows it.
            seed: its seed.
            scale: its guidance, which is a decimal number in the name, as in `cfg_8.0`.

        Returns:
            A path that ends in `.pth`.
        """
        return self.folder / f"{strip.name}_s_{seed}_cfg_{scale}_img_emb.pth"

    def made_from(self, strip: Strip) -> str:
        """Tell what the files of a strip are made from and how.

        Args:
            strip: the strip.

        Returns:
            JSON with the settings, the inputs with their sizes and times, and the text.
        """
        inputs = [
            [each.caption, each.dropped, each.path and each.path.name, _stamp(each.path)]
            for each in strip.inputs
        ]
        return json.dumps({**self._settings, "inputs": inputs, "text": strip.text}, default=str)

    def is_complete(self, strip: Strip) -> bool:
        """Check whether the files of a strip need not be made again.

        Args:
            strip: the strip.

        Returns:
            Whether all of them are there, made from the same inputs in the same way.
        """
        there = all(self.embedding(strip, *each).is_file() for each in self.config.made)
        return there and _comment(self.picture(strip)) == self.made_from(strip)


def _stamp(path: Path | None) -> list[int] | None:
    """Make a text that changes when the file does."""
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _comment(path: Path) -> str | None:
    try:
        with Image.open(path, formats=["JPEG"]) as strip:
            comment = strip.info.get("comment")
    except OSError:  # not there, or not written by us
        return None
    return comment.decode(errors="replace") if isinstance(comment, bytes) else None
