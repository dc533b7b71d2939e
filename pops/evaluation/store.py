"""The folder of an evaluation: a line for every picture that was measured.

Lines are appended to one file for each shard, as pictures are done. When a run was killed, the next
run of the same command goes on after the last whole line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from pops.datagen.sample import Content, encode
from pops.errors import InputError, OutputError, UsageError
from pops.evaluation.metrics.base import Numbers
from pops.io.files import atomic_path, folder_lock, make_folder
from pops.io.formats.schema import Count, Text, decode_json, read_json
from pops.settings.shard import Shard

__all__ = ["PICTURES", "ROWS", "SETTINGS", "Indexed", "PictureLine", "Lines", "read_lines"]

SETTINGS = "settings.json"
ROWS = "rows"
PICTURES = "pictures"


class Indexed(msgspec.Struct, omit_defaults=True):
    """The form of a line.

    Attributes:
        index: The number of what was measured in the run.
    """

    index: Count


class PictureLine(Indexed):
    """The line of a picture: what it was made of, and the number of every metric.

    Attributes:
        request: The number of its request.
        method: The method that made it.
        seed: Its seed.
        words: What its inputs show, by slot.
        numbers: The number of each metric, None where there was nothing to measure.
        text: The instruction.
        seconds: The time of each stage.
    """

    request: Count
    method: Text
    seed: Count
    words: dict[str, Text]
    numbers: Numbers
    text: Text | None = None
    seconds: dict[str, float] = {}


Kind = TypeVar("Kind", bound=Indexed)


class Lines(Generic[Kind]):
    """The lines of one shard, which are appended to."""

    def __init__(self, folder: Path, shard: Shard, kind: type[Kind]) -> None:
        self.folder = folder
        self.shard = shard
        self.kind = kind
        part = "" if shard.count == 1 else f"-{shard.number}-of-{shard.count}"
        self.path = folder / f"{ROWS}{part}.jsonl"

    @contextmanager
    def open(self, settings: Mapping[str, Any]) -> Iterator[set[int]]:
        """Hold the shard inside the block.

        Args:
            settings: All that the numbers depend on; a folder goes on only with the same.

        Yields:
            The indices that have a line.

        Raises:
            UsageError: The folder was made with other settings, or another run is at work on it.
            InputError: A line is damaged.
            OutputError: The folder cannot be written.
        """
        with folder_lock(self.folder, f".lock-{self.shard.number}-of-{self.shard.count}"):
            self._check_settings(settings)
            with _writing(self.path), self.path.open("ab") as self._file:
                self._cut()
                yield {line.index for line in _read(self.path, self.kind)}

    def add(self, line: Kind, pictures: Mapping[str, Content] = MappingProxyType({})) -> None:
        """Write the pictures of a line, and then the line.

        Args:
            line: The line.
            pictures: Its pictures by their path; none where they are not kept.

        Raises:
            OutputError: There is no room, or the folder cannot be written.
        """
        for name, content in pictures.items():
            path = self.folder / PICTURES / name
            make_folder(path.parent)
            with atomic_path(path) as part:
                part.write_bytes(encode(name, content))
        with _writing(self.path):
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / SETTINGS
        if path.exists() and any(rows.stat().st_size for rows in _files(self.folder)):
            there = read_json(path, dict[str, Any], InputError)
            for key in sorted({*there, *settings}):
                now = json.loads(json.dumps(settings.get(key)))
                if there.get(key) != now:
                    raise UsageError(
                        f"{self.folder} was made with {key} {there.get(key)!r}, not {now!r}: name "
                        "another folder by --out, or the same settings to go on"
                    )
            return
        with atomic_path(path) as part:
            part.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    def _cut(self) -> None:
        """Remove a last line that was cut short."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)


def read_lines(folder: Path, kind: type[Kind]) -> list[Kind]:
    """Read the lines of all shards of a folder.

    Args:
        folder: The folder of an evaluation.
        kind: The form of its lines.

    Returns:
        The lines, in the order of their indices.

    Raises:
        InputError: A line is damaged.
    """
    found = {line.index: line for path in _files(folder) for line in _read(path, kind)}
    return [found[index] for index in sorted(found)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{ROWS}*.jsonl"))


def _read(path: Path, kind: type[Kind]) -> Iterator[Kind]:
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        yield decode_json(line, kind, InputError, f"{path}, line {number}")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot write {path}: {reason}; make room or choose another folder, then run the "
            "same command again"
        ) from error
