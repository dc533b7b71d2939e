"""Stage `render`: the training pictures of the pocket stack, in shards.

What is in a shard is a `Contents`, so that other stages render shards of their own. A shard is a
pure function of (seed, shard number), so any number of processes makes the same pictures. Each
shard is three files, written beside and renamed: `pictures-NNNN.npy` (N, 64, 64, 3),
`things-NNNN.npy` (N, 64, 64) and `records-NNNN.json`.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pops.io.files import atomic_path
from pops.io.processes import process_pool
from pops.pocket.world.patches import find_patch
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Item, Scene, Swatch, outfit, pair, single, with_adjective
from pops.pocket.world.split import is_held_out, is_held_out_pair
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = [
    "SIZE",
    "Contents",
    "Pictures",
    "build_pictures",
    "dressed",
    "load_pictures",
    "load_records",
]

SIZE = 64

# (randomness, shard number) -> the shard's scenes, those of one geometry together
Contents = Callable[[random.Random, int], Iterator[list[Scene]]]


# --- what is in a shard ---------------------------------------------------------------------


def _seen_material(rng: random.Random, shape: str, background: str) -> str:
    """A material whose combination may be trained on."""
    return rng.choice([m for m in MATERIALS if not is_held_out(shape, m, background)])


def _may_be_seen(things: Sequence[Item]) -> bool:
    """Whether neither pair of things that stand beside each other is held out."""
    named = [(i.shape, i.material) for i in things]
    return len(named) != 2 or not is_held_out_pair(named[0], named[1])


def dressed(
    scene: Scene,
    rng: random.Random,
    backgrounds: Sequence[str],
    each: int,
    material: Callable[[random.Random, str, str], str] = _seen_material,
) -> list[Scene]:
    """The same geometry in other backgrounds, `each` times in other materials.

    `material` draws one for a shape in a background.
    """
    out = []
    for background in backgrounds:
        phase = rng.uniform(0.0, 20.0)
        taken: set[tuple[str, ...]] = set()
        while len(taken) < each:
            materials: dict[str, str] = {}
            for item in scene.items:
                free = item.shape == "mannequin"
                drawn = "clay" if free else material(rng, item.shape, background)
                # Copies of one thing are of one material.
                materials.setdefault(item.shape, drawn)
            key = tuple(materials.values())
            if key in taken:
                continue
            taken.add(key)
            items = tuple(
                replace(i, material=materials[i.shape], phase=rng.uniform(0.0, 20.0))
                for i in scene.items
            )
            if not _may_be_seen(items):
                continue
            out.append(replace(scene, items=items, background=background, phase=phase))
    return out


def _contents(rng: random.Random, shard: int) -> Iterator[list[Scene]]:
    """Mostly single objects; some with adjectives, in pairs, worn; empty places."""

    def places(n: int) -> list[str]:
        return rng.sample(BACKGROUNDS, n)

    for i in range(48):
        shape = OBJECTS[(shard * 48 + i) % len(OBJECTS)]
        yield dressed(single(shape, "red", "studio", rng), rng, places(3), 4)
    for i in range(14):
        base = single(rng.choice(OBJECTS), "red", "studio", rng)
        adjective = ADJECTIVES[(shard * 14 + i) % len(ADJECTIVES)]
        yield dressed(with_adjective(base, adjective, rng), rng, places(4), 2)
    for _ in range(8):
        left, right = rng.sample(OBJECTS, 2)
        base = pair((left, "red"), (right, "red"), "studio", rng)
        yield dressed(base, rng, places(4), 2)
    for _ in range(8):
        worn = rng.sample(GARMENTS, rng.randint(2, 5))
        worn = [g for g in worn if not (g == "skirt" and "trousers" in worn)]
        base = outfit([(g, "red") for g in worn], "studio", rng)
        yield dressed(base, rng, places(3), 2)
    yield [
        Scene((), b, single("ball", "red", b, rng).view, phase=rng.uniform(0, 20))
        for b in BACKGROUNDS
    ]


def _swatches(rng: random.Random) -> list[Swatch]:
    return [
        Swatch(m, rng.uniform(0, 20), rng.uniform(1.0, 2.0), rng.uniform(0.75, 1.05))
        for m in MATERIALS * 2
    ]


def _shard(
    seed: str, shard: int, contents: Contents, swatches: bool
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    rng = random.Random(f"{seed}/{shard}")
    scenes: list[Scene] = []
    records: list[dict[str, Any]] = []
    for group, made in enumerate(contents(rng, shard)):
        scenes += made
        records += [_record(scene, f"{shard}/{group}") for scene in made]
    rendering = render(scenes, SIZE)
    for i, record in enumerate(records):
        if record["kind"] == "single":
            record["patch"] = find_patch(rendering.mask(i, 0).numpy(), rng)
    pictures, things = rendering.pictures, rendering.things
    if swatches:
        flat = _swatches(rng)
        records += [
            {"kind": "swatch", "caption": s.caption, "things": [["", s.material]]} for s in flat
        ]
        pictures = torch.cat([pictures, render_swatches(flat, SIZE)])
        things = torch.cat([things, torch.ones(len(flat), SIZE, SIZE).byte()])
    return pictures.numpy(), things.numpy(), records


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


def _write_shard(folder: Path, seed: str, shard: int, contents: Contents, swatches: bool) -> int:
    torch.set_num_threads(1)
    pictures, things, records = _shard(seed, shard, contents, swatches)
    for name, array in (("things", things), ("pictures", pictures)):
        with atomic_path(folder / f"{name}-{shard:04d}.npy") as path, path.open("wb") as file:
            np.save(file, array)
    # The records come last: a shard is there when they are.
    with atomic_path(folder / f"records-{shard:04d}.json") as path:
        path.write_text(json.dumps(records))
    return shard


def build_pictures(
    folder: Path,
    shards: int,
    seconds: float,
    seed: str = "0",
    contents: Contents = _contents,
    *,
    swatches: bool = True,
) -> bool:
    """Render what is missing of the shards within the time; True when all are there.

    `contents` is given to other processes: a function of a module.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in range(shards) if not (folder / f"records-{s:04d}.json").exists()]
    end = time.monotonic() + seconds
    workers = os.cpu_count() or 1
    with process_pool(workers) as pool:
        running: set[Future[int]] = set()
        while missing or running:
            while missing and len(running) < workers and time.monotonic() < end:
                work = (folder, seed, missing.pop(0), contents, swatches)
                running.add(pool.submit(_write_shard, *work))
            if not running:
                return False
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                print(f"{folder.name}: shard {future.result() + 1} of {shards}", flush=True)
    return True


# --- reading them back ----------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """All shards as one: pictures (N, 64, 64, 3), things (N, 64, 64) and N records."""

    pictures: np.ndarray
    things: np.ndarray
    records: list[dict[str, Any]]

    def batch(self, index: np.ndarray | Sequence[int]) -> Tensor:
        """Pictures as (B, 3, 64, 64) in [0, 1]."""
        return torch.from_numpy(self.pictures[index]).permute(0, 3, 1, 2).float() / 255.0


def load_records(folder: Path) -> list[dict[str, Any]]:
    """The records of every finished shard of a folder."""
    paths = sorted(folder.glob("records-*.json"))
    return [record for path in paths for record in json.loads(path.read_text())]


def load_pictures(folder: Path) -> Pictures:
    """Every finished shard of a folder."""
    shards = sorted(p.stem.split("-")[1] for p in folder.glob("records-*.json"))
    records = load_records(folder)
    pictures = np.concatenate([np.load(folder / f"pictures-{s}.npy") for s in shards])
    things = np.concatenate([np.load(folder / f"things-{s}.npy") for s in shards])
    return Pictures(pictures, things, records)
