"""The folder of a run: every sample whole or absent, and a manifest line for each.

A sample is written into a hidden folder and moved from there; its line in the manifest comes last,
so that what has a line is whole. What was being written when a run was killed is removed, and made
again, when the same command runs again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from pops.datagen.sample import Sample, encode
from pops.errors import InputError, OutputError, UsageError
from pops.io.files import atomic_path, make_folder
from pops.settings.shard import Shard

__all__ = ["MANIFEST", "SETTINGS", "Store", "read_manifest"]

MANIFEST = "manifest"
SETTINGS = ".generation.json"  # hidden: readers of records look at every other .json


def manifest_name(shard: Shard) -> str:
    """Name the manifest of a shard: machines that share a folder write one each."""
    part = "" if shard.count == 1 else f"-{shard.number}-of-{shard.count}"
    return f"{MANIFEST}{part}.jsonl"


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """Every sample of a folder, in the order they were made; of all shards.

    A last line that was cut short by a kill is left out.

    Raises:
        InputError: another line is broken.
    """
    for path in _manifests(folder):
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON; remove the line") from error


def _manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{MANIFEST}*.jsonl"))


def _check_same(folder: Path, there: dict[str, Any], settings: dict[str, Any]) -> None:
    for key in sorted(there | settings):
        if there.get(key) != settings.get(key):
            raise UsageError(
                f"{folder} was made with {key} {there.get(key)!r}, not {settings.get(key)!r}: "
                "name another folder, or the same settings to resume"
            )


class Store:
    """Where the samples of one shard go. Samples may be added from several threads."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.folder = folder
        self._path = folder / manifest_name(shard)
        self._staging = folder / f".staging-{shard.number}-of-{shard.count}"
        self._lock = Lock()

    @contextmanager
    def open(self, settings: dict[str, Any]) -> Iterator[set[int]]:
        """Hold the shard of the folder; gives the indices of the samples that are there.

        Raises:
            UsageError: the folder was made with other settings, or another run is writing here.
            OutputError: the folder cannot be written.
        """
        make_folder(self.folder)
        self._check_settings(settings)
        with _writing(self._path), self._path.open("ab") as self._manifest:
            self._take_alone()
            shutil.rmtree(self._staging, ignore_errors=True)
            make_folder(self._staging)
            try:
                yield {line["index"] for line in self._whole_lines()}
            finally:
                shutil.rmtree(self._staging, ignore_errors=True)

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        if not path.exists():
            if any(self.folder.iterdir()):
                raise UsageError(
                    f"{self.folder} holds other files: name a new folder, or one of the same run"
                )
        elif any(manifest.stat().st_size for manifest in _manifests(self.folder)):
            _check_same(self.folder, json.loads(path.read_text()), settings)
            return
        with atomic_path(path, suffix=".part") as part:
            part.write_text(json.dumps(settings, indent=1))

    def _take_alone(self) -> None:
        try:
            fcntl.flock(self._manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another run is writing {self._path}: wait for it") from error

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The samples of this shard; a last line that was cut short is removed."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
        return [json.loads(line) for line in content[:whole].splitlines()]

    def add(self, sample: Sample, line: dict[str, Any]) -> None:
        """Write the files of a sample, then its line.

        Raises:
            OutputError: no room, or the place cannot be written; nothing half-written stays.
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
            shutil.rmtree(own, ignore_errors=True)  # of a run killed before its line was written
            (stage / sample.name).rename(own)
            return
        for path in sample.files:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (stage / path).replace(self.folder / path)


def _write_files(stage: Path, sample: Sample) -> None:
    for path, content in sample.files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise OutputError(f"{path!r} would leave the output folder: check the words")
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
