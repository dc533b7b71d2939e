"""Stage `embeds`: embeddings of every training picture and of what is cut out of it.

Each piece that is cut out has a slot. The two things of a pair have slots 0 and 1, and garments
have those of the clothes operator. A single object has slot 0 where it is on white, and 1 where it
is pasted into another picture's empty place. The encoder is the packed one, in half precision, as
users have it. There is one file for each shard of pictures. The file names its encoder, and is made
again where the encoder has been trained further since.
"""

import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from pops.errors import WeightsError
from pops.evaluation.pocket.patches import crop_patch
from pops.io.files import atomic_path
from pops.operators import GARMENTS as GARMENT_SLOTS
from pops.pocket.build.data.pictures import Pictures, load_pictures, shard_names
from pops.pocket.build.models.clip import see
from pops.pocket.build.progress import print_progress
from pops.pocket.world.cutout import cut_out, on_white, slots_of

__all__ = ["Embeds", "build_embeds", "load_embeds", "zero_embed"]

BATCH = 256
NO_SLOT, PATCH = -1, -2  # slots of a whole picture, and of a patch of its thing


@dataclass(frozen=True)
class Embeds:
    """Embeddings of pictures and of the pieces that are cut out of them.

    Args:
        pictures: (N, D), of whole pictures.
        cuts: (C, D), of pieces.
        rows: for each piece the row of its picture.
        slots: for each piece its slot.
    """

    pictures: Tensor
    cuts: Tensor
    rows: list[int]
    slots: list[int]

    def by_row(self) -> dict[int, dict[int, int]]:
        """Find the pieces of every picture.

        Returns:
            Row of the picture -> slot -> row of `cuts`.
        """
        found: dict[int, dict[int, int]] = {}
        for i, (row, slot) in enumerate(zip(self.rows, self.slots, strict=True)):
            found.setdefault(row, {})[slot] = i
        return found


# --- what is cut out ------------------------------------------------------------------------


def _of_several(data: Pictures, row: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (slot, picture) of everything that can be cut out of a pair or of clothes."""
    record, picture, seen = data.records[row], data.batch([row])[0], data.seen([row])[0]
    worn = record["kind"] == "outfit"
    for i, (shape, _) in enumerate(record["things"]):
        mask = seen == i + 1 + worn  # the mannequin is the first item of an outfit
        parts = slots_of(shape.removeprefix("worn "), mask) if worn else {"": mask}
        for slot, part in parts.items():
            cut = cut_out(picture, part, picture.shape[-1])
            if cut is not None:
                yield GARMENT_SLOTS.index(slot) if worn else i, cut


def _of_single(
    data: Pictures, row: int, empty: list[int], rng: random.Random
) -> Iterator[tuple[int, Tensor]]:
    """Yield a patch, and the object: on white in even rows, in another place in odd ones."""
    record, picture, mask = data.records[row], data.batch([row])[0], data.seen([row])[0] == 1
    if record.get("patch"):
        yield PATCH, crop_patch(picture, record["patch"])
    if row % 2 == 0:
        yield 0, on_white(picture, mask)
    else:
        yield 1, torch.where(mask, picture, data.batch([rng.choice(empty)])[0])


def _pieces(data: Pictures, rng: random.Random) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (row, slot, picture) of every picture and of everything that is cut out of it."""
    empty = [i for i, r in enumerate(data.records) if r["kind"] == "empty"]
    for row, record in enumerate(data.records):
        yield row, NO_SLOT, data.batch([row])[0]
        if record["kind"] in ("pair", "outfit"):
            yield from ((row, slot, cut) for slot, cut in _of_several(data, row))
        elif record["kind"] == "single":
            yield from ((row, slot, cut) for slot, cut in _of_single(data, row, empty, rng))


# --- to and from the disk -------------------------------------------------------------------


@torch.no_grad()
def _encode(
    encoder: CLIPVisionModelWithProjection, data: Pictures, rng: random.Random
) -> dict[str, np.ndarray]:
    pieces = _pieces(data, rng)
    embeds, rows, slots = [], [], []
    while batch := list(islice(pieces, BATCH)):
        shown = torch.stack([picture for _, _, picture in batch])
        embeds.append(see(encoder, shown.to(encoder.device)).image_embeds.float().cpu())
        rows += [row for row, _, _ in batch]
        slots += [slot for _, slot, _ in batch]
    every, slot = torch.cat(embeds).numpy(), np.array(slots, dtype=np.int8)
    cut = slot != NO_SLOT
    return {
        "pictures": every[~cut],
        "cuts": every[cut],
        "rows": np.array(rows, dtype=np.int32)[cut],
        "slots": slot[cut],
    }


def _digest(encoder: CLIPVisionModelWithProjection) -> int:
    """Compute a number that names the weights of an encoder."""
    pieces = (p.detach().cpu().numpy().tobytes() for p in encoder.parameters())
    return zlib.crc32(b"".join(pieces))


def _made_by(path: Path) -> int | None:
    """Read the digest of the encoder that made a file; None where there is no file."""
    if not path.exists():
        return None
    with np.load(path) as file:
        return int(file["encoder"])


def build_embeds(
    folder: Path, encoder: CLIPVisionModelWithProjection, pictures: Path, seconds: float
) -> bool:
    """Encode the shards of pictures that are not encoded yet, as far as the time goes.

    Args:
        folder: the folder of embeddings, one file for each shard.
        encoder: the packed image encoder.
        pictures: the folder of pictures.
        seconds: the time after which no further shard is begun.

    Returns:
        Whether every shard is encoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = _digest(encoder)
    names = shard_names(pictures)
    missing = [name for name in names if _made_by(folder / f"{name}.npz") != digest]
    began = time.monotonic()
    for done, name in enumerate(missing):
        if time.monotonic() - began > seconds:
            return False
        data = load_pictures(pictures, [name])
        arrays = _encode(encoder, data, random.Random(f"embeds/{name}"))
        with atomic_path(folder / f"{name}.npz") as path, path.open("wb") as file:
            np.savez(file, allow_pickle=False, encoder=np.array(digest), **arrays)
        print_progress(folder.name, done + 1, len(missing), time.monotonic() - began)
    return True


def load_embeds(folder: Path, pictures: Path) -> tuple[list[str], Embeds]:
    """Read the embeddings of all shards of pictures that have been encoded.

    Args:
        folder: the folder of embeddings.
        pictures: the folder of pictures.

    Returns:
        The names of these shards, and the embeddings of all their pictures, in order.

    Raises:
        WeightsError: no shard has been encoded.
    """
    names = [name for name in shard_names(pictures) if (folder / f"{name}.npz").exists()]
    if not names:
        raise WeightsError(f"{folder} has no embeddings: run the build's stage embeds first")
    whole, cuts, rows, slots = [], [], [], []
    count = 0
    for name in names:
        with np.load(folder / f"{name}.npz") as file:
            whole.append(torch.from_numpy(file["pictures"]))
            cuts.append(torch.from_numpy(file["cuts"]))
            rows += (file["rows"] + count).tolist()
            slots += file["slots"].tolist()
        count += len(whole[-1])
    return names, Embeds(torch.cat(whole), torch.cat(cuts), rows, slots)


@torch.no_grad()
def zero_embed(encoder: CLIPVisionModelWithProjection) -> Tensor:
    """Encode a picture whose pixels are zero after the image processor, as the pipeline does.

    Args:
        encoder: the packed image encoder.

    Returns:
        The embedding (D,), which stands for "no picture" where the decoder is guided.
    """
    size = encoder.config.image_size
    zero = torch.zeros(1, 3, size, size, device=encoder.device, dtype=encoder.dtype)
    out: Tensor = encoder(pixel_values=zero).image_embeds[0].float().cpu()
    return out
