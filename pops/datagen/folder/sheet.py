"""Contact sheets: some samples of a folder of generated data, to be looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pops.figures import Cell, strips
from pops.io.formats.arrays import read_array
from pops.io.pictures import open_picture

__all__ = ["MASKS", "PICTURES", "contact_sheet"]

PICTURES = (".jpg", ".png")
MASKS = ("mask.png", ".npy")  # ends of the names of masks
SIDE = 128  # pixels of a picture on the sheet
COLUMNS = 8  # of samples that are a single picture
MASK_COLOUR, BOX_COLOURS = (255, 0, 160), ("#00e000", "#ffb000")


def contact_sheet(folder: Path, samples: Sequence[dict[str, Any]]) -> Image.Image:
    """Draw a row for each sample: its picture, the same with boxes and mask, and its other files.

    Samples that are a single picture stand side by side.

    Args:
        folder: The folder of the samples.
        samples: The lines of samples whose files are whole, at least one.

    Returns:
        The contact sheet.
    """
    rows = [_row(folder, line) for line in samples]
    cells = [cell for row in rows for cell in row]
    if len(cells) == len(rows):
        rows = [cells[at : at + COLUMNS] for at in range(0, len(cells), COLUMNS)]
    return strips(rows, SIDE)


def _row(folder: Path, line: dict[str, Any]) -> list[Cell]:
    *others, main = line["files"]
    picture = open_picture(folder / main)
    masks = [name for name in others if name.endswith(MASKS)]
    boxes = line.get("boxes") or ([line["box"]] if line.get("box") else [])
    cells = [Cell(_enlarged(picture), str(line.get("prompt") or line["name"]))]
    if masks or boxes:
        drawn = picture
        for name in masks:
            drawn = _with_mask(drawn, _read_mask(folder / name))
        what = ["boxes" if len(boxes) > 1 else "box"] * bool(boxes) + ["mask"] * bool(masks)
        cells.append(Cell(_with_boxes(_enlarged(drawn), boxes, picture.width), " and ".join(what)))
    for name in others:
        if name.endswith(PICTURES) and name not in masks:
            cells.append(Cell(_enlarged(open_picture(folder / name)), _caption(line, name)))
    return cells


def _caption(line: dict[str, Any], name: str) -> str:
    """Say in words which part of its sample a file is: its name without sample and seed."""
    path = PurePosixPath(name)
    own = path.stem.removeprefix(str(line["name"])).strip("_") or path.parent.name
    if cut := re.fullmatch(r"OBJ_(\d)", own):
        return f"object {int(cut[1]) + 1}"
    return re.sub(r"_\d+$", "", own).replace("-", " ").replace("_", " ").lower()


def _read_mask(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return read_array(path) > 0
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) > 0


def _with_mask(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """Tint the picture where the mask is."""
    tint = Image.blend(picture, Image.new("RGB", picture.size, MASK_COLOUR), 0.5)
    return Image.composite(tint, picture, Image.fromarray(mask.astype(np.uint8) * 255))


def _with_boxes(picture: Image.Image, boxes: Sequence[Sequence[int]], width: int) -> Image.Image:
    """Draw a line around each box; boxes are in pixels of a picture of this width."""
    scale = picture.width / width
    draw = ImageDraw.Draw(picture)
    for i, box in enumerate(boxes):
        x1, y1, x2, y2 = (round(value * scale) for value in box)
        if x1 < x2 - 1 and y1 < y2 - 1:
            colour = BOX_COLOURS[i % len(BOX_COLOURS)]
            draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=3)
    return picture


def _enlarged(picture: Image.Image) -> Image.Image:
    """Enlarge a small picture by a whole number, so that lines on it are thin."""
    scale = max(1, 2 * SIDE // max(picture.size))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
