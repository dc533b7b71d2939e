"""What the decoder trains on: latents, embeddings and how often each picture is drawn."""

from pathlib import Path

import numpy as np
import torch

from pops.io.files import atomic_path
from pops.pocket.build.autoencoder import PatchBasis
from pops.pocket.build.embeds import Embeds
from pops.pocket.build.pictures import Pictures

__all__ = ["SHARES", "build_latents"]

# How much of the decoder's training goes to each kind of picture.
SHARES = {
    "single": 0.72,
    "adjective": 0.1,
    "pair": 0.08,
    "outfit": 0.06,
    "swatch": 0.03,
    "empty": 0.01,
}


def build_latents(folder: Path, basis: PatchBasis, data: Pictures, embeds: Embeds) -> None:
    """Write `latents.npy`, `embeds.npy` (the zero picture last) and `weights.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [r["kind"] for r in data.records]
    count = {k: kinds.count(k) for k in SHARES}
    n = len(data.records)
    latents = [
        basis.latents(data.batch(np.arange(i, min(i + 512, n)))).half() for i in range(0, n, 512)
    ]
    arrays = {
        "latents": torch.cat(latents).numpy(),
        "embeds": torch.cat([embeds.pictures, embeds.zero[None]]).numpy(),
        "weights": np.array([SHARES[k] / count[k] for k in kinds]),
    }
    for name, array in arrays.items():
        with atomic_path(folder / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, array)
