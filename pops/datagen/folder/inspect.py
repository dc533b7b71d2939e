"""Inspection of a folder of generated data: counts, rejections, broken records, contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pops.data.reader import read_corners
from pops.datagen.config import InspectConfig
from pops.datagen.folder.manifest import (
    GenerationSettings,
    read_manifest,
    read_settings,
    sample_file,
)
from pops.datagen.folder.sheet import MASKS, PICTURES, contact_sheet
from pops.errors import InputError
from pops.io.files import check_apart, make_folder
from pops.io.formats.arrays import read_array
from pops.io.formats.schema import read_json
from pops.io.pictures import open_picture, save_picture

__all__ = ["Inspection", "generate_inspect", "inspect_folder"]

BROKEN_SHOWN = 20

BOX = "box.json"  # beside a picture that is cropped


@dataclass(frozen=True)
class Inspection:
    """The content of a folder of samples. `broken` says what is wrong, one line each."""

    settings: GenerationSettings
    samples: list[dict[str, Any]]
    rejections: Counter[str]
    broken: list[str]


def generate_inspect(config: InspectConfig) -> int:
    """Print what is in a folder of samples, and draw its contact sheet.

    Args:
        config: The settings of the command.

    Returns:
        The exit status: 1 where something is broken.

    Raises:
        UsageError: The contact sheet would be written into the folder.
        InputError: It is not a folder of generated data, or its manifest is damaged.
    """
    folder = Path(config.folder)
    if config.out is not None:
        check_apart("out", config.out, folder)
    found = inspect_folder(folder)
    for line in _lines(found):
        print(line)
    whole = [line for line in found.samples if not any(_faults(folder, line))]
    if whole:
        place = config.out or folder.parent / f"{folder.resolve().name}-inspect.jpg"
        make_folder(place.parent)
        save_picture(contact_sheet(folder, whole[: config.samples]), place)
        print(f"contact sheet: {place}")
    return 1 if found.broken else 0


def inspect_folder(folder: Path) -> Inspection:
    """Read the manifests of a folder, and check every file of every sample.

    Args:
        folder: The folder.

    Returns:
        What is in it.

    Raises:
        InputError: It is not a folder of generated data, or its manifest is damaged.
    """
    settings = read_settings(folder)
    samples = list(read_manifest(folder))
    rejections = Counter(reason for line in samples for reason in line.get("rejections", ()))
    broken = [fault for line in samples for fault in _faults(folder, line)]
    twice = Counter(line["index"] for line in samples)
    broken += [f"sample {index} is there {n} times" for index, n in twice.items() if n > 1]
    known = {path for line in samples for path in line["files"]}
    broken += [
        f"{path}: of no sample; run the same command again" for path in _strays(folder, known)
    ]
    return Inspection(settings, samples, rejections, broken)


def _faults(folder: Path, line: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with the files of a sample."""
    sizes = {}
    for name in line["files"]:
        try:
            path = sample_file(folder, name)
            if path.suffix in PICTURES:
                sizes[name] = open_picture(path).size
            elif path.suffix == ".npy":
                sizes[name] = read_array(path).shape[1::-1]
            elif path.name == BOX:
                read_corners(path)
            else:
                read_json(path, Any, InputError)
        except InputError as error:
            yield f"{name}: {str(error).removeprefix(f'{folder / name}: ')}"
    whole = sizes.get(line["files"][-1])
    for name, size in sizes.items():
        if whole and name.endswith(MASKS) and size != whole:
            yield f"{name}: a mask of {size} pixels, but the picture has {whole}"


def _strays(folder: Path, known: set[str]) -> Iterator[str]:
    """Find files that no line names: a killed run leaves those that it was moving."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.is_file() and not hidden and path.suffix != ".jsonl" and name not in known:
            yield name


def _lines(found: Inspection) -> Iterator[str]:
    settings = found.settings
    made = f"{settings.kind}, preset {settings.preset}, seed {settings.seed}"
    yield f"{len(found.samples)} samples of {made}"
    for stage, model in settings.models.items():
        yield f"  {stage}: {model.name}@{model.revision}, {model.licence}"
    tried = len(found.samples) + found.rejections.total()
    yield f"rejected: {found.rejections.total()} of {tried} tried"
    for reason, count in found.rejections.most_common():
        yield f"  {reason}: {count}"
    yield f"broken: {len(found.broken)}"
    for fault in found.broken[:BROKEN_SHOWN]:
        yield f"  {fault}"
    if len(found.broken) > BROKEN_SHOWN:
        yield f"  and {len(found.broken) - BROKEN_SHOWN} more"
