"""Which files a job writes, and whether those that are there are what it would write again."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from pops.compat.config import PublishedConfig
from pops.compat.plan import Job
from pops.operators import Operator

__all__ = ["Records"]

# What changes neither the files nor the numbers in them, or is said job by job.
UNSAID = frozenset(
    ("dir_a", "dir_b", "file_exts_a", "file_exts_b", "name_filter_a", "name_filter_b", "texts")
    + ("output_dir_name", "device", "offload", "overwrite", "prior_path", "prior_repo")
)


class Records:
    """The files of the jobs of one command. The strip is written last and tells how it was made."""

    def __init__(self, config: PublishedConfig, operator: Operator, folder: Path) -> None:
        self.config = config
        self.folder = folder
        settings = {f.name: getattr(config, f.name) for f in fields(config)}
        self._settings: dict[str, Any] = {
            **{name: value for name, value in settings.items() if name not in UNSAID},
            "operator": operator.name,
            "weights": [config.weights, _stamp(Path(config.weights or ""))],
        }

    def strip(self, job: Job) -> Path:
        return self.folder / f"{job.name}.jpg"

    def embedding(self, job: Job, seed: int, scale: float) -> Path:
        """The published name: the guidance is a decimal number in it, as in `cfg_8.0`."""
        return self.folder / f"{job.name}_s_{seed}_cfg_{scale}_img_emb.pth"

    def of(self, job: Job) -> str:
        """What the files of a job are made from and how, as JSON."""
        inputs = [
            [each.caption, each.dropped, each.path and each.path.name, _stamp(each.path)]
            for each in job.inputs
        ]
        return json.dumps({**self._settings, "inputs": inputs, "text": job.text}, default=str)

    def is_complete(self, job: Job) -> bool:
        """Whether all files of a job are there, made from the same inputs in the same way."""
        there = all(self.embedding(job, *each).is_file() for each in self.config.made)
        return there and _comment(self.strip(job)) == self.of(job)


def _stamp(path: Path | None) -> list[int] | None:
    """Changes when the file does."""
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
