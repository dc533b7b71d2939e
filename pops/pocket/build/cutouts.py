"""Stage `cutouts`: embeddings of things alone, cut out of the pictures they are in.

By slot: the two things of a pair are 0 and 1, garments have the clothes operator's slots, and a
single object is 0 on white and 1 pasted where another picture shows an empty place. Garments are
pictured alone as well, from near.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pops.io.files import atomic_path
from pops.operators import GARMENTS as SLOTS
from pops.pocket.build.clip import Clip
from pops.pocket.build.fit import device
from pops.pocket.build.pictures import SIZE, Pictures
from pops.pocket.world.cutout import cut_out, garment_cutouts, garment_scene, on_white, slots_of
from pops.pocket.world.vocabulary import GARMENTS, MATERIALS

__all__ = ["Cutouts", "build_cutouts", "build_garments", "load_cutouts"]

VIEWS = 8  # of every garment alone, in every material
BATCH = 256


@dataclass(frozen=True)
class Cutouts:
    """C embeddings (C, D) of things, each with its slot and the row of the picture it is from."""

    embeds: Tensor
    rows: list[int]
    slots: list[int]

    def by_row(self) -> dict[int, dict[int, list[int]]]:
        """Row -> slot -> which embeddings."""
        found: dict[int, dict[int, list[int]]] = {}
        for i, (row, slot) in enumerate(zip(self.rows, self.slots, strict=True)):
            found.setdefault(row, {}).setdefault(slot, []).append(i)
        return found


def _of_record(data: Pictures, row: int) -> Iterator[tuple[int, Tensor]]:
    """(slot, picture) of everything that can be cut out of a pair or of clothes."""
    record = data.records[row]
    if record["kind"] not in ("pair", "outfit"):
        return
    picture = data.batch([row])[0]
    seen = torch.from_numpy(data.things[row])
    worn = record["kind"] == "outfit"
    for i, (shape, _) in enumerate(record["things"]):
        mask = seen == i + 1 + worn  # the mannequin is the first item of an outfit
        parts = slots_of(shape.removeprefix("worn "), mask) if worn else {"": mask}
        for slot, part in parts.items():
            cut = cut_out(picture, part, SIZE)
            if cut is not None:
                yield SLOTS.index(slot) if worn else i, cut


def _singles(data: Pictures, rng: random.Random) -> Iterator[tuple[int, int, Tensor]]:
    """(row, slot, picture) of every single object, by turns on white and in another place."""
    empty = [i for i, r in enumerate(data.records) if r["kind"] == "empty"]
    rows = [i for i, r in enumerate(data.records) if r["kind"] == "single"]
    for turn, row in enumerate(rows):
        picture, mask = data.batch([row])[0], torch.from_numpy(data.things[row]) == 1
        if turn % 2 == 0:
            yield row, 0, on_white(picture, mask)
        else:
            yield row, 1, torch.where(mask, picture, data.batch([rng.choice(empty)])[0])


def _cut_from(data: Pictures) -> Iterator[tuple[int, int, Tensor]]:
    rng = random.Random("cutouts")
    for row in range(len(data.records)):
        for slot, cut in _of_record(data, row):
            yield row, slot, cut
    yield from _singles(data, rng)


def _garments() -> Iterator[tuple[int, int, Tensor]]:
    """(material, slot, picture) of garments alone."""
    rng = random.Random("garments")
    for garment in GARMENTS:
        for _ in range(VIEWS):
            base = garment_scene(garment, "red", rng)
            scenes = [
                replace(base, items=(replace(base.items[0], material=m, phase=rng.uniform(0, 20)),))
                for m in MATERIALS
            ]
            for i, cuts in enumerate(garment_cutouts(scenes, SIZE)):
                for slot, cut in cuts.items():
                    yield i, SLOTS.index(slot), cut


@torch.no_grad()
def _encode(path: Path, clip: Clip, cuts: Iterator[tuple[int, int, Tensor]]) -> None:
    clip.eval()
    embeds, rows, slots = [], [], []
    while batch := list(islice(cuts, BATCH)):
        shown = torch.stack([picture for _, _, picture in batch])
        embeds.append(clip.images(shown.to(device())).cpu())
        rows += [row for row, _, _ in batch]
        slots += [slot for _, slot, _ in batch]
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file,
            embeds=torch.cat(embeds).numpy(),
            rows=np.array(rows, dtype=np.int32),
            slots=np.array(slots, dtype=np.int8),
        )


def build_cutouts(path: Path, clip: Clip, data: Pictures) -> None:
    """Encode everything that is cut out of pictures into one `.npz`; `rows` are theirs."""
    _encode(path, clip, _cut_from(data))


def build_garments(path: Path, clip: Clip) -> None:
    """Encode garments alone into one `.npz`; `rows` are the numbers of their materials."""
    _encode(path, clip, _garments())


def load_cutouts(path: Path) -> Cutouts:
    with np.load(path) as file:
        return Cutouts(
            torch.from_numpy(file["embeds"]), file["rows"].tolist(), file["slots"].tolist()
        )
