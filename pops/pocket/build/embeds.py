"""Stage `embeds`: every training picture as an embedding, once, for all that trains on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pops.io.files import atomic_path
from pops.pocket.build.clip import Clip
from pops.pocket.build.fit import device
from pops.pocket.build.pictures import SIZE, Pictures
from pops.pocket.world.patches import crop_patch

__all__ = ["Embeds", "build_embeds", "load_embeds"]


@dataclass(frozen=True)
class Embeds:
    """pictures (N, D); patches (N, D), zero where a picture has none; zero picture (D,)."""

    pictures: Tensor
    patches: Tensor
    zero: Tensor


@torch.no_grad()
def _encode(clip: Clip, pictures: Tensor) -> Tensor:
    return clip.images(pictures.to(device())).cpu()


@torch.no_grad()
def build_embeds(path: Path, clip: Clip, data: Pictures, batch: int = 256) -> None:
    """Encode all pictures and patches into one `.npz`."""
    clip.eval()
    pictures, patches = [], []
    for start in range(0, len(data.records), batch):
        rows = np.arange(start, min(start + batch, len(data.records)))
        shown = data.batch(rows)
        pictures.append(_encode(clip, shown))
        out = torch.zeros_like(pictures[-1])
        have = [i for i, row in enumerate(rows) if data.records[row].get("patch")]
        if have:
            cut = [crop_patch(shown[i], data.records[rows[i]]["patch"]) for i in have]
            out[have] = _encode(clip, torch.stack(cut))
        patches.append(out)
    # The zero picture is zero after the processor: the mean colour before it.
    zero = clip.vision(pixel_values=torch.zeros(1, 3, SIZE, SIZE, device=device())).image_embeds
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file,
            pictures=torch.cat(pictures).numpy(),
            patches=torch.cat(patches).numpy(),
            zero=zero[0].cpu().numpy(),
        )


def load_embeds(path: Path) -> Embeds:
    with np.load(path) as file:
        return Embeds(*(torch.from_numpy(file[k]) for k in ("pictures", "patches", "zero")))
