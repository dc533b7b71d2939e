"""Stage `render`: the training pictures of the pocket stack, in shards.

A shard is a pure function of (seed, shard number), so any number of processes makes the same
pictures. Each shard is three files, written beside and renamed: `pictures-NNNN.npy`
(N, 64, 64, 3), `things-NNNN.npy` (N, 64, 64) and `records-NNNN.json`.
"""

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pops.files import atomic_path
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Scene, Swatch, outfit, pair, single, with_adjective
from pops.pocket.world.split import is_held_out
from pops.pocket.world.vocabulary import ADJECTIVES, BACKGROUNDS, GARMENTS, MATERIALS, OBJECTS

__all__ = ["SIZE", "Pictures", "build_pictures", "crop_patch", "find_patch", "load_pictures"]

SIZE = 64


# --- what is in a shard ---------------------------------------------------------------------


def _seen_material(rng: random.Random, shape: str, background: str) -> str:
    """A material whose combination may be trained on."""
    return rng.choice([m for m in MATERIALS if not is_held_out(shape, m, background)])


def _dressed(
    scene: Scene, rng: random.Random, backgrounds: Sequence[str], each: int
) -> list[Scene]:
    """The same geometry in other backgrounds, `each` times in other materials."""
    out = []
    for background in backgrounds:
        phase = rng.uniform(0.0, 20.0)
        taken: set[tuple[str, ...]] = set()
        while len(taken) < each:
            materials: dict[str, str] = {}
            for item in scene.items:
                free = item.shape == "mannequin"
                drawn = "clay" if free else _seen_material(rng, item.shape, background)
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
            out.append(replace(scene, items=items, background=background, phase=phase))
    return out


def _groups(rng: random.Random, shard: int) -> Iterator[tuple[str, list[Scene]]]:
    """(kind, scenes of one geometry) until the shard is full."""

    def places(n: int) -> list[str]:
        return rng.sample(BACKGROUNDS, n)

    for i in range(48):
        shape = OBJECTS[(shard * 48 + i) % len(OBJECTS)]
        yield "single", _dressed(single(shape, "red", "studio", rng), rng, places(3), 4)
    for i in range(14):
        base = single(rng.choice(OBJECTS), "red", "studio", rng)
        adjective = ADJECTIVES[(shard * 14 + i) % len(ADJECTIVES)]
        yield "adjective", _dressed(with_adjective(base, adjective, rng), rng, places(4), 2)
    for _ in range(8):
        left, right = rng.sample(OBJECTS, 2)
        base = pair((left, "red"), (right, "red"), "studio", rng)
        yield "pair", _dressed(base, rng, places(4), 2)
    for _ in range(8):
        worn = rng.sample(GARMENTS, rng.randint(2, 5))
        worn = [g for g in worn if not (g == "skirt" and "trousers" in worn)]
        base = outfit([(g, "red") for g in worn], "studio", rng)
        yield "outfit", _dressed(base, rng, places(3), 2)
    yield (
        "empty",
        [
            Scene((), b, single("ball", "red", b, rng).view, phase=rng.uniform(0, 20))
            for b in BACKGROUNDS
        ],
    )


def _swatches(rng: random.Random) -> list[Swatch]:
    return [
        Swatch(m, rng.uniform(0, 20), rng.uniform(1.0, 2.0), rng.uniform(0.75, 1.05))
        for m in MATERIALS * 2
    ]


def find_patch(mask: np.ndarray, rng: random.Random) -> tuple[int, int, int] | None:
    """(x, y, side) of a random square wholly inside a mask (H, W), as large as it gives.

    None where not even 6 pixels fit.
    """
    summed = np.pad(mask.astype(np.int32), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    largest = rng.choice((28, 22, 16))
    for side in (s for s in (28, 22, 16, 12, 9, 7, 6) if s <= largest):
        inside = (
            summed[side:, side:]
            - summed[:-side, side:]
            - summed[side:, :-side]
            + summed[:-side, :-side]
        )
        ys, xs = np.nonzero(inside == side * side)
        if len(ys):
            k = rng.randrange(len(ys))
            return int(xs[k]), int(ys[k]), side
    return None


def crop_patch(picture: Tensor, patch: Sequence[int]) -> Tensor:
    """The patch (x, y, side) of a picture (3, H, W) in [0, 1], enlarged to the picture's size."""
    x, y, side = patch
    piece = picture[None, :, y : y + side, x : x + side]
    size = picture.shape[-2:]
    return torch.nn.functional.interpolate(piece, size, mode="bicubic").clamp(0, 1)[0]


def _shard(seed: int, shard: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    rng = random.Random(f"{seed}/{shard}")
    scenes: list[Scene] = []
    records: list[dict[str, Any]] = []
    for group, (kind, made) in enumerate(_groups(rng, shard)):
        scenes += made
        records += [_record(kind, scene, f"{shard}/{group}") for scene in made]
    rendering = render(scenes, SIZE)
    for i, record in enumerate(records):
        if record["kind"] == "single":
            record["patch"] = find_patch(rendering.mask(i, 0).numpy(), rng)
    swatches = _swatches(rng)
    records += [
        {"kind": "swatch", "caption": s.caption, "things": [["", s.material]]} for s in swatches
    ]
    pictures = torch.cat([rendering.pictures, render_swatches(swatches, SIZE)])
    things = torch.cat([rendering.things, torch.ones(len(swatches), SIZE, SIZE).byte()])
    return pictures.numpy(), things.numpy(), records


def _record(kind: str, scene: Scene, group: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "caption": scene.caption,
        "things": [[t.shape, t.material] for t in scene.things],
        "background": scene.background,
        "adjective": scene.adjective,
        "group": group,
    }


def _write_shard(folder: Path, seed: int, shard: int) -> int:
    torch.set_num_threads(1)
    pictures, things, records = _shard(seed, shard)
    for name, array in (("things", things), ("pictures", pictures)):
        with atomic_path(folder / f"{name}-{shard:04d}.npy") as path, path.open("wb") as file:
            np.save(file, array)
    # The records come last: a shard is there when they are.
    with atomic_path(folder / f"records-{shard:04d}.json") as path:
        path.write_text(json.dumps(records))
    return shard


def build_pictures(folder: Path, shards: int, seconds: float, seed: int = 0) -> bool:
    """Render what is missing of the shards within the time; True when all are there."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in range(shards) if not (folder / f"records-{s:04d}.json").exists()]
    end = time.monotonic() + seconds
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        running: set[Future[int]] = set()
        while missing or running:
            while missing and len(running) < workers and time.monotonic() < end:
                running.add(pool.submit(_write_shard, folder, seed, missing.pop(0)))
            if not running:
                return False
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                print(f"render: shard {future.result() + 1} of {shards}", flush=True)
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


def load_pictures(folder: Path) -> Pictures:
    """Every finished shard of a folder."""
    shards = sorted(p.stem.split("-")[1] for p in folder.glob("records-*.json"))
    records = [r for s in shards for r in json.loads((folder / f"records-{s}.json").read_text())]
    pictures = np.concatenate([np.load(folder / f"pictures-{s}.npy") for s in shards])
    things = np.concatenate([np.load(folder / f"things-{s}.npy") for s in shards])
    return Pictures(pictures, things, records)
