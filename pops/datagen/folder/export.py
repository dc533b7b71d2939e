"""Folders of samples as tar shards, as WebDataset reads them.

Of each sample: `KEY.sample.json`, its manifest line, and every file as `KEY.PART`, where PART is
the file's name without the sample's: `KEY.inpainted.jpg`, `KEY.obj_0.png`, `KEY.base.jpg`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pops.datagen.config import ExportConfig
from pops.datagen.folder.store import read_manifest
from pops.errors import InputError
from pops.io.files import atomic_path, make_folder

__all__ = ["generate_export", "member_name"]


def generate_export(config: ExportConfig) -> int:
    """Write `samples-NNNNNN.tar`, each whole or not at all; the exit status."""
    folder = Path(config.folder)
    lines = sorted(read_manifest(folder), key=lambda line: line["index"])
    if not lines:
        raise InputError(f"{folder} holds no samples: it has no manifest of `pops generate`")
    make_folder(config.out)
    each = config.samples_per_shard
    shards = [lines[i : i + each] for i in range(0, len(lines), each)]
    for number, shard in enumerate(shards):
        with atomic_path(config.out / f"samples-{number:06d}.tar") as path:
            _write(path, folder, shard)
    print(f"{len(lines)} samples in {len(shards)} shards in {config.out}")
    return 0


def _write(path: Path, folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    with tarfile.open(path, "w") as tar:
        for line in lines:
            for name, content in _members(folder, line):
                info = tarfile.TarInfo(name)  # no times, no owners: the same data, the same bytes
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _members(folder: Path, line: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    key = f"{line['index']:012d}"
    yield f"{key}.sample.json", json.dumps(line).encode()
    for file in line["files"]:
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            raise InputError(
                f"{folder / file} cannot be read: run the same command again"
            ) from error
        yield f"{key}.{member_name(line['name'], file)}", content


def member_name(name: str, file: str) -> str:
    """What a file is of its sample: small letters, and dots only before its kind.

    `mug_1.jpg` -> `jpg`, `mug_1_OBJ_0.png` -> `obj_0.png`, `mug_1/base.jpg` -> `base.jpg`,
    `garments/hat/mug_1.png` -> `garments-hat.png`.
    """
    path = Path(file)
    parts = [part for part in (*path.parent.parts, path.stem) if part != name]
    own = "-".join(part.removeprefix(f"{name}_") for part in parts)
    plain = own.lower().replace(".", "-")
    return f"{plain}{path.suffix}" if plain else path.suffix[1:]
