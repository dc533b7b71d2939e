"""Things cut out of their pictures and put on white, as operators take them."""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene, outfit

__all__ = [
    "SLOT_OF",
    "cut_out",
    "garment_cutouts",
    "garment_scene",
    "on_white",
    "pixels_picture",
    "slots_of",
]

# Where the clothes operator takes each garment; shoes are two, each in a slot of its own.
SLOT_OF = {
    "hat": ("hat",),
    "top": ("upper-clothes",),
    "skirt": ("skirt",),
    "trousers": ("pants",),
    "shoes": ("left-shoe", "right-shoe"),
    "bag": ("bag",),
    "scarf": ("scarf",),
}
MARGIN = 0.12  # white round a cut-out, as a share of its longer side
LEAST = 16  # pixels that must be seen of a thing to cut it out

# Garment -> the camera's distance, and where it looks: across and up, in units of the body.
_PORTRAITS = {
    "hat": (1.9, 0.0, 1.85),
    "top": (2.4, 0.0, 1.2),
    "skirt": (2.3, 0.0, 0.7),
    "trousers": (2.5, 0.0, 0.57),
    "shoes": (1.9, 0.0, 0.12),
    "bag": (1.7, -0.6, 0.65),
    "scarf": (1.9, 0.05, 1.3),
}


def on_white(picture: Tensor, mask: Tensor) -> Tensor:
    """Replace everything outside a mask by white.

    Args:
        picture: (..., 3, H, W) in [0, 1].
        mask: (..., H, W) of booleans.

    Returns:
        The picture (..., 3, H, W), white where the mask is false.
    """
    return torch.where(mask[..., None, :, :], picture, torch.ones_like(picture))


def cut_out(picture: Tensor, mask: Tensor, size: int) -> Tensor | None:
    """Cut a thing out and put it on white, centred and as large as fits.

    Args:
        picture: (3, H, W) in [0, 1].
        mask: (H, W) of booleans: where the thing is.
        size: pixels of a side of the result.

    Returns:
        The cut-out (3, size, size) in [0, 1]; None where too little of the thing is seen.
    """
    if int(mask.sum()) < LEAST:
        return None
    ys, xs = torch.nonzero(mask, as_tuple=True)
    (y1, y2), (x1, x2) = ((int(v.min()), int(v.max()) + 1) for v in (ys, xs))
    side = round(max(y2 - y1, x2 - x1) * (1 + 2 * MARGIN))
    whole = torch.ones(1, 3, side, side)
    top, left = (side - (y2 - y1)) // 2, (side - (x2 - x1)) // 2
    piece = on_white(picture, mask)[:, y1:y2, x1:x2]
    whole[0, :, top : top + y2 - y1, left : left + x2 - x1] = piece
    if side > size:
        return F.interpolate(whole, (size, size), mode="bilinear", antialias=True)[0]
    return F.interpolate(whole, (size, size), mode="bicubic").clamp(0, 1)[0]


def slots_of(garment: str, mask: Tensor) -> dict[str, Tensor]:
    """Divide a garment's mask among the slots of the clothes operator that it goes into.

    The left shoe is the wearer's, on the right of the picture.

    Args:
        garment: a name in `GARMENTS`.
        mask: (H, W) of booleans: where the garment is.

    Returns:
        The part of the mask (H, W) for each slot, by the slot's name.
    """
    slots = SLOT_OF[garment]
    if len(slots) == 1:
        return {slots[0]: mask}
    columns = torch.arange(mask.shape[1]).expand_as(mask)
    middle = columns[mask].float().mean() if mask.any() else torch.zeros(())
    return {slots[0]: mask & (columns >= middle), slots[1]: mask & (columns < middle)}


def garment_scene(garment: str, material: str, rng: random.Random) -> Scene:
    """Show a garment without its wearer, from near.

    Args:
        garment: a name in `GARMENTS`.
        material: a name in `MATERIALS`.
        rng: chooses how it stands and is lit.

    Returns:
        The scene, in the white studio.
    """
    dressed = outfit([(garment, material)], "studio", rng)
    distance, across, up = _PORTRAITS[garment]
    worn = dressed.items[1]
    view = replace(
        dressed.view, distance=distance, look_x=across * worn.size, look_y=up * worn.size
    )
    return Scene((worn,), "studio", view)


def garment_cutouts(scenes: Sequence[Scene], size: int) -> list[dict[str, Tensor]]:
    """Render scenes of one garment each and cut the garments out.

    Args:
        scenes: scenes as `garment_scene` makes them.
        size: pixels of a side of a cut-out.

    Returns:
        For each scene the cut-outs (3, size, size) in [0, 1], by the name of their slot; a slot of
        which too little is seen is left out.
    """
    seen = render(scenes, 2 * size)
    out = []
    for i, scene in enumerate(scenes):
        picture = seen.pictures[i].permute(2, 0, 1).float() / 255
        parts = slots_of(scene.items[0].shape.removeprefix("worn "), seen.mask(i, 0))
        cuts = {slot: cut_out(picture, mask, size) for slot, mask in parts.items()}
        out.append({slot: cut for slot, cut in cuts.items() if cut is not None})
    return out


def pixels_picture(pixels: Tensor) -> Image.Image:
    """Make a picture of pixels.

    Args:
        pixels: (3, H, W) in [0, 1].

    Returns:
        The picture, H pixels high and W wide.
    """
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).round().byte().numpy())
