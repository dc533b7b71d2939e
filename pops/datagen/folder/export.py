"""Folders of samples as tar files, as WebDataset reads them.

A tar holds, for each sample, `KEY.sample.json` with its line of the manifest, and every file as
`KEY.PART`, where PART is the file's name without that of the sample: `KEY.inpainted.jpg`,
`KEY.obj_0.png`, `KEY.base.jpg`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pops.datagen.config import ExportConfig
from pops.datagen.folder.manifest import read_samples, sample_file
from pops.errors import InputError
from pops.io.files import atomic_path, check_apart, check_file, folder_lock

__all__ = ["generate_export", "member_name"]

FACTS = "sample.json"  # the line of the manifest


def generate_export(config: ExportConfig) -> int:
    """Write `samples-NNNNNN.tar`, each whole or not at all.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.

    Raises:
        UsageError: The tars would be written into the folder of samples.
        InputError: The folder holds no samples, a sample is there twice, one of its files is
            missing or outside of it, or two would have one name in the tar.
        OutputError: A tar cannot be written.
    """
    folder = Path(config.folder)
    check_apart("out", config.out, folder)
    lines = read_samples(folder)
    if not lines:
        raise InputError(f"{folder} holds no samples: it has no manifest of `pops generate`")
    each = config.samples_per_shard
    shards = [lines[i : i + each] for i in range(0, len(lines), each)]
    with folder_lock(config.out):
        for number, shard in enumerate(shards):
            with atomic_path(config.out / f"samples-{number:06d}.tar") as path:
                _write(path, folder, shard)
    print(f"{len(lines)} samples in {len(shards)} shards in {config.out}")
    return 0


def _write(path: Path, folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    with tarfile.open(path, "w") as tar:
        for line in lines:
            for name, content in _members(folder, line):
                info = tarfile.TarInfo(name)  # without times: equal data, equal bytes
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _members(folder: Path, line: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    key = f"{line['index']:012d}"
    yield f"{key}.{FACTS}", json.dumps(line).encode()
    named = {FACTS: "its line of the manifest"}
    for file in line["files"]:
        path = sample_file(folder, file)
        check_file(path, InputError, ": run the same command again")  # a pipe would be waited for
        name = member_name(line["name"], file)
        if name in named:
            raise InputError(f"{path} would be called {name}, as {named[name]} is: rename one")
        named[name] = file
        yield f"{key}.{name}", path.read_bytes()


def member_name(name: str, file: str) -> str:
    """Name a file by its part in a sample, in small letters and with a dot before its suffix only.

    Of the sample `mug_1`, `mug_1.jpg` becomes `jpg`, `mug_1_OBJ_0.png` becomes `obj_0.png`,
    `mug_1/base.jpg` becomes `base.jpg`, and `garments/hat/mug_1.png` becomes `garments-hat.png`.

    Args:
        name: The name of the sample.
        file: The path of the file in the folder.

    Returns:
        The name of the part.
    """
    path = Path(file)
    parts = [part for part in (*path.parent.parts, path.stem) if part != name]
    own = "-".join(part.removeprefix(f"{name}_") for part in parts)
    plain = own.lower().replace(".", "-")
    return f"{plain}{path.suffix}" if plain else path.suffix[1:]
