"""The manifest of a folder of samples: one JSON object a line, checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pops.errors import InputError
from pops.io.formats.schema import Count, Schema, Text, decode_json, read_json
from pops.settings.shard import Shard

__all__ = [
    "MANIFEST",
    "SETTINGS",
    "GenerationSettings",
    "manifest_name",
    "manifests",
    "parse_lines",
    "read_manifest",
    "read_samples",
    "read_settings",
    "sample_file",
]

MANIFEST = "manifest"
SETTINGS = ".generation.json"  # hidden, since readers of records look at every other .json

Coordinate = Annotated[int, Meta(ge=-(2**20), le=2**20)]
PixelBox = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
# A path in the folder: parts with / between them, none of which is empty, hidden or leads out.
PART = r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*"
INSIDE = re.compile(rf"{PART}(/{PART})*")


class _ModelFacts(Schema):
    """The model that answers a stage."""

    name: Text
    revision: Text
    licence: Text


class GenerationSettings(Schema):
    """`.generation.json`: what the samples of a folder depend on."""

    kind: Text
    preset: Text
    seed: int
    models: dict[str, _ModelFacts]
    size: int | None = None  # pixels of a side of a picture
    words: Text | None = None  # digest of all words
    input_dir: Text | None = None  # folder of the pictures that were cut out


class _Line(msgspec.Struct):
    """The fields that every line must have, or may have, in this form; others are free."""

    index: Count
    name: Text
    files: Annotated[list[Text], Meta(min_length=1, max_length=1000)]
    rejections: Annotated[list[Text], Meta(max_length=1000)] = []
    box: PixelBox | None = None
    boxes: Annotated[list[PixelBox], Meta(max_length=1000)] = []


def manifest_name(shard: Shard) -> str:
    """Name the manifest of a shard: machines that share a folder write one each.

    Args:
        shard: The shard.

    Returns:
        The name of the file.
    """
    part = "" if shard.count == 1 else f"-{shard.number}-of-{shard.count}"
    return f"{MANIFEST}{part}.jsonl"


def manifests(folder: Path) -> list[Path]:
    """List the manifests of all shards of a folder.

    Args:
        folder: The folder of samples.

    Returns:
        Their paths in order.
    """
    return sorted(folder.glob(f"{MANIFEST}*.jsonl"))


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of all samples of a folder, of all shards.

    A last line that was cut short by a kill is left out.

    Args:
        folder: The folder of samples.

    Yields:
        The line of every sample, in the order in which they were made.

    Raises:
        InputError: A line is damaged, or names a file that cannot be in the folder.
    """
    for path in manifests(folder):
        yield from parse_lines(path, path.read_bytes())


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """Read the line of every sample of a folder once, in the order of their numbers.

    Args:
        folder: The folder of samples.

    Returns:
        The lines. Of equal ones, as where a manifest was copied, there is one.

    Raises:
        InputError: A line is damaged, names a file that cannot be in the folder, or differs from
            another one of the same number.
    """
    lines: dict[int, dict[str, Any]] = {}
    for line in read_manifest(folder):
        index = line["index"]
        if lines.setdefault(index, line) != line:
            raise InputError(
                f"{folder}: its manifests tell of two different samples {index}: remove the "
                "line of one"
            )
    return [lines[index] for index in sorted(lines)]


def parse_lines(path: Path, content: bytes) -> Iterator[dict[str, Any]]:
    """Check the whole lines of a manifest.

    Args:
        path: The manifest, for messages.
        content: Its content; what follows the last line break is left out.

    Yields:
        The lines.

    Raises:
        InputError: A line is damaged, or names a file that cannot be in the folder.
    """
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        place = f"{path}, line {number}"
        for name in decode_json(line, _Line, InputError, place).files:
            if not INSIDE.fullmatch(name):
                raise InputError(f"{place}: files: {name!r} is not a plain path inside the folder")
        yield decode_json(line, dict[str, Any], InputError, place)


def read_settings(folder: Path) -> GenerationSettings:
    """Read what the samples of a folder depend on.

    Args:
        folder: The folder of samples.

    Returns:
        The settings.

    Raises:
        InputError: It is not a folder of generated data, or the file is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise InputError(f"{folder} is not a folder of `pops generate`: it has no {SETTINGS}")
    return read_json(path, GenerationSettings, InputError)


def sample_file(folder: Path, name: str) -> Path:
    """Find a file that a manifest names, which must lie inside the folder of samples.

    Args:
        folder: The folder of samples.
        name: The path in the folder, as the manifest has it.

    Returns:
        The path.

    Raises:
        InputError: A symbolic link leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} leads out of the folder by a symbolic link: remove it")
    return path
