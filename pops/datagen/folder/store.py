"""The folder of a run: every sample is there whole or not at all, with a line in a manifest.

A sample is written into a hidden folder and moved from there; its line in the manifest comes last,
so that what has a line is whole. When a run was killed, the next run of the same command removes
the sample that was being written, and makes it again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from pops.datagen.folder.manifest import SETTINGS, manifest_name, manifests, parse_lines
from pops.datagen.sample import Sample, encode
from pops.errors import InputError, OutputError, UsageError
from pops.io.files import folder_lock, make_folder
from pops.io.formats.schema import read_json, write_json
from pops.settings.shard import Shard

__all__ = ["SampleStore"]

SYSTEM_FILES = ("Thumbs.db", "desktop.ini")  # left by Windows; other systems hide theirs


class SampleStore:
    """The folder of the samples of one shard. Samples may be added from several threads."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.folder = folder
        self.shard = shard
        self._path = folder / manifest_name(shard)
        self._staging = folder / f".staging-{shard.number}-of-{shard.count}"
        self._lock = Lock()

    @contextmanager
    def open(self, settings: dict[str, Any]) -> Iterator[set[int]]:
        """Hold the shard of the folder inside the block.

        Args:
            settings: What the samples depend on; a folder is resumed only with the same.

        Yields:
            The indices of the samples that are there.

        Raises:
            UsageError: The folder was made with other settings, or another run is at work on it.
            InputError: Its manifest or settings are damaged.
            OutputError: The folder cannot be written.
        """
        with folder_lock(self.folder, f".lock-{self.shard.number}-of-{self.shard.count}"):
            self._check_settings(settings)
            with _writing(self._path), self._path.open("ab") as self._manifest:
                shutil.rmtree(self._staging, ignore_errors=True)
                make_folder(self._staging)
                try:
                    yield {line["index"] for line in self._whole_lines()}
                finally:
                    shutil.rmtree(self._staging, ignore_errors=True)
                    self._forget_if_empty()

    def _forget_if_empty(self) -> None:
        """Remove the files of a run that made nothing, as where a model cannot be had."""
        with suppress(OSError):  # Windows removes no file that is open; it does no harm
            if self._path.stat().st_size == 0 and self.shard == Shard():
                self._path.unlink()
                if not any(_is_of_user(entry) for entry in self.folder.iterdir()):
                    (self.folder / SETTINGS).unlink()

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        if not path.exists():
            if any(_is_of_user(entry) for entry in self.folder.iterdir()):
                raise UsageError(
                    f"{self.folder} holds other files: name a new folder, or one of the same run"
                )
        elif any(manifest.stat().st_size for manifest in manifests(self.folder)):
            _check_same(self.folder, read_json(path, dict[str, Any], InputError), settings)
            return
        write_json(path, settings, indent=1)

    def _whole_lines(self) -> list[dict[str, Any]]:
        """Read the samples of this shard, and remove a last line that was cut short."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
        return list(parse_lines(self._path, content))

    def add(self, sample: Sample, line: dict[str, Any]) -> None:
        """Write the files of a sample, and then its line.

        Args:
            sample: The sample.
            line: Its line in the manifest.

        Raises:
            OutputError: There is no room, or the folder cannot be written; nothing half-written
                stays.
        """
        stage = self._staging / str(line["index"])
        try:
            with _writing(self.folder / sample.name):
                _write_files(stage, sample)
                self._move(stage, sample)
                with self._lock, _writing(self._path):
                    self._manifest.write(json.dumps(line).encode() + b"\n")
                    self._manifest.flush()
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _move(self, stage: Path, sample: Sample) -> None:
        own = self.folder / sample.name
        if all(path.startswith(f"{sample.name}/") for path in sample.files):  # a folder of its own
            shutil.rmtree(own, ignore_errors=True)  # left by a killed run
            (stage / sample.name).rename(own)
            return
        for path in sample.files:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (stage / path).replace(self.folder / path)


def _is_of_user(entry: Path) -> bool:
    """Tell whether a file is a user's own: not hidden, and not of the kind that systems leave."""
    return not entry.name.startswith(".") and entry.name not in SYSTEM_FILES


def _check_same(folder: Path, there: dict[str, Any], settings: dict[str, Any]) -> None:
    for key in sorted(there | settings):
        if there.get(key) != settings.get(key):
            raise UsageError(
                f"{folder} was made with {key} {there.get(key)!r}, not {settings.get(key)!r}: "
                "name another folder, or the same settings to resume"
            )


def _write_files(stage: Path, sample: Sample) -> None:
    for path, content in sample.files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise OutputError(f"{path!r} would lie outside the output folder: check the words")
        (stage / pure).parent.mkdir(parents=True, exist_ok=True)
        (stage / pure).write_bytes(encode(path, content))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        place = error.filename or path
        raise OutputError(
            f"cannot write {place}: {reason}; make room or choose another folder, then run the "
            "same command again"
        ) from error
