"""Stage `render`: the training pictures of the pocket stack, in shards.

A shard is a pure function of (seed, shard number), so any number of processes makes the same
pictures. Each is three files, written beside and renamed: `pictures-NNNN.npy` (N, 128, 128, 3),
`things-NNNN.npy` (N, 128, 128) and `records-NNNN.json`.
"""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pops.errors import WeightsError
from pops.evaluation.pocket.patches import find_patch
from pops.io.files import atomic_path
from pops.io.machine.processes import process_pool
from pops.pocket.build.data.families import families
from pops.pocket.build.progress import print_progress
from pops.pocket.world.cutout import garment_cutouts, garment_scene
from pops.pocket.world.render import Rendering, render, render_swatches
from pops.pocket.world.scene import Scene, Swatch, with_article
from pops.pocket.world.vocabulary import GARMENTS, MATERIAL_WORDS, MATERIALS

__all__ = [
    "SIZE",
    "Pictures",
    "build_pictures",
    "cut_record",
    "draw_families",
    "draw_garments",
    "draw_groups",
    "load_pictures",
    "load_records",
    "shard_names",
]

SIZE = 128

# Pictures (N, 128, 128, 3), the item that each pixel shows (N, 128, 128), and N records.
Shard = tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]
Maker = Callable[[random.Random, int], Shard]  # takes randomness and the number of the shard


# --- what is in a shard ---------------------------------------------------------------------


def _swatches(rng: random.Random) -> list[Swatch]:
    return [
        Swatch(m, rng.uniform(0, 20), rng.uniform(1.0, 2.0), rng.uniform(0.75, 1.05))
        for m in MATERIALS
    ]


def draw_families(rng: random.Random, shard: int) -> Shard:
    """Draw the families of a shard, and a swatch of every material.

    Args:
        rng: chooses what is shown.
        shard: the number of the shard.

    Returns:
        Pictures, items and records.
    """
    return draw_groups(families(rng, shard), rng, shard)


def draw_groups(groups: Iterable[list[Scene]], rng: random.Random, shard: int) -> Shard:
    """Draw groups of scenes, and a swatch of every material.

    Args:
        groups: scenes that are drawn together.
        rng: chooses patches and swatches.
        shard: the number of the shard, which is part of the groups' names.

    Returns:
        Pictures, items and records.
    """
    records: list[dict[str, Any]] = []
    drawn: list[Rendering] = []
    for number, made in enumerate(groups):
        drawn.append(render(made, SIZE))
        for i, scene in enumerate(made):
            records.append(_record(scene, f"{shard}/{number}"))
            if records[-1]["kind"] == "single":
                records[-1]["patch"] = find_patch(drawn[-1].mask(i, 0).numpy(), rng)
    flat = _swatches(rng)
    records += [
        {"kind": "swatch", "caption": s.caption, "things": [["", s.material]]} for s in flat
    ]
    pictures = [rendering.pictures for rendering in drawn]
    things = [rendering.things for rendering in drawn]
    pictures.append(render_swatches(flat, SIZE))
    things.append(torch.ones(len(flat), SIZE, SIZE).byte())
    return torch.cat(pictures).numpy(), torch.cat(things).numpy(), records


def draw_garments(rng: random.Random, shard: int, materials: Sequence[str] = MATERIALS) -> Shard:
    """Draw every garment in every material, alone on white; a garment has one pose in a shard.

    Args:
        rng: chooses the poses.
        shard: the number of the shard.
        materials: the materials.

    Returns:
        Pictures, items and records.
    """
    records: list[dict[str, Any]] = []
    pictures: list[Tensor] = []
    for garment in GARMENTS:
        base = garment_scene(garment, "red", rng)
        scenes = [
            replace(base, items=(replace(base.items[0], material=m, phase=rng.uniform(0, 20)),))
            for m in materials
        ]
        for material, cuts in zip(materials, garment_cutouts(scenes, SIZE), strict=True):
            for slot, cut in cuts.items():
                records.append(cut_record(f"worn {garment}", material, slot))
                pictures.append((cut * 255 + 0.5).byte())
    stacked = torch.stack(pictures).permute(0, 2, 3, 1).contiguous()
    return stacked.numpy(), np.ones(stacked.shape[:3], dtype=np.uint8), records


def cut_record(shape: str, material: str, name: str) -> dict[str, Any]:
    """Make the record of one thing on white.

    Args:
        shape: the shape of the thing.
        material: its material.
        name: the word for it in the caption.

    Returns:
        The record.
    """
    told = with_article(f"{MATERIAL_WORDS[material]} {name}")
    return {"kind": "cut", "caption": told, "things": [[shape, material]], "name": name}


def _kind(scene: Scene) -> str:
    if any(i.shape == "mannequin" for i in scene.items):
        return "outfit"
    if scene.adjective:
        return "adjective"
    return ("empty", "single", "pair")[len(scene.items)]


def _record(scene: Scene, group: str) -> dict[str, Any]:
    return {
        "kind": _kind(scene),
        "caption": scene.caption,
        "things": [[t.shape, t.material] for t in scene.things],
        "background": scene.background,
        "adjective": scene.adjective,
        "group": group,
    }


def _write_shard(folder: Path, seed: str, shard: int, make: Maker) -> int:
    torch.set_num_threads(1)
    pictures, things, records = make(random.Random(f"{seed}/{shard}"), shard)
    for name, array in (("things", things), ("pictures", pictures)):
        with atomic_path(folder / f"{name}-{shard:04d}.npy") as path, path.open("wb") as file:
            np.save(file, array)
    # The records come last: a shard is there when they are.
    with atomic_path(folder / f"records-{shard:04d}.json") as path:
        path.write_text(json.dumps(records), encoding="utf-8")
    return shard


def build_pictures(
    folder: Path,
    shards: int,
    seconds: float,
    seed: str = "0",
    make: Maker = draw_families,
    *,
    workers: int | None = None,
) -> bool:
    """Render the shards that are missing, as far as the time goes.

    Args:
        folder: the folder of the shards.
        shards: the number of shards that there should be.
        seconds: the time after which no further shard is begun.
        seed: the seed; a shard depends on it and on its own number alone.
        make: draws a shard; a function of a module, as it is sent to other processes.
        workers: the number of processes; None for one a core.

    Returns:
        Whether all shards are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in range(shards) if not (folder / f"records-{s:04d}.json").exists()]
    began, asked = time.monotonic(), len(missing)
    workers = workers or os.cpu_count() or 1
    with process_pool(workers) as pool:
        running: set[Future[int]] = set()
        while missing or running:
            while missing and len(running) < workers and time.monotonic() - began < seconds:
                work = (folder, seed, missing.pop(0), make)
                running.add(pool.submit(_write_shard, *work))
            if not running:
                return False
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            finished = asked - len(missing) - len(running)
            print_progress(folder.name, finished, asked, time.monotonic() - began)
    return True


# --- reading them back ----------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """N pictures and their records, from several shards; a picture is read when it is needed.

    Args:
        pictures: for each shard its n pictures (n, 128, 128, 3) uint8.
        things: for each shard the item that each pixel shows (n, 128, 128) uint8.
        records: the N records.
    """

    pictures: list[np.ndarray]
    things: list[np.ndarray]
    records: list[dict[str, Any]]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.pictures)])

    def _at(self, row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        return shard, row - int(self._starts[shard])

    def batch(self, rows: Iterable[int]) -> Tensor:
        """Read some pictures.

        Args:
            rows: the numbers of B pictures.

        Returns:
            (B, 3, 128, 128) in [0, 1].
        """
        at = [self._at(int(row)) for row in rows]
        stacked = np.stack([self.pictures[shard][i] for shard, i in at])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255.0

    def seen(self, rows: Iterable[int]) -> Tensor:
        """Tell which item each pixel of some pictures shows.

        Args:
            rows: the numbers of B pictures.

        Returns:
            (B, 128, 128) uint8: i + 1 where item i is seen, 0 where the background is.
        """
        at = [self._at(int(row)) for row in rows]
        return torch.from_numpy(np.stack([self.things[shard][i] for shard, i in at]))


def _with_geometry(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name the geometry of every record of a shard: a caption's n-th picture has the n-th one."""
    seen: Counter[tuple[str, str]] = Counter()
    for record in records:
        if "group" in record:
            key = (record["group"], record["caption"])
            record["geometry"] = f"{record['group']}/{seen[key]}"
            seen[key] += 1
    return records


def shard_names(folder: Path) -> list[str]:
    """List the finished shards of a folder.

    Args:
        folder: the folder.

    Returns:
        Their names, such as "0007", in order.

    Raises:
        WeightsError: no shard is finished.
    """
    names = sorted(path.stem.removeprefix("records-") for path in folder.glob("records-*.json"))
    if not names:
        raise WeightsError(f"{folder} has no pictures: run the build's stage render first")
    return names


def load_records(folder: Path, shards: Sequence[str]) -> list[dict[str, Any]]:
    """Read the records of some shards.

    Args:
        folder: the folder of the shards.
        shards: the names of the shards.

    Returns:
        The records, in order, each with the name of its `geometry`.
    """
    paths = [folder / f"records-{shard}.json" for shard in shards]
    return [
        record
        for path in paths
        for record in _with_geometry(json.loads(path.read_text(encoding="utf-8")))
    ]


def load_pictures(folder: Path, shards: Sequence[str] = ()) -> Pictures:
    """Map some shards of a folder from the disk.

    Args:
        folder: the folder of the shards.
        shards: the names of the shards; none for every finished one.

    Returns:
        Their pictures and records.
    """
    names = shards or shard_names(folder)
    pictures, things = (
        [np.load(folder / f"{kind}-{name}.npy", mmap_mode="r") for name in names]
        for kind in ("pictures", "things")
    )
    return Pictures(pictures, things, load_records(folder, names))
