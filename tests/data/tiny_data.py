"""Tiny datasets in every layout, drawn on the spot: a disc in a colour on a plain background."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pops.data.dataset import ExampleDataset
from pops.data.reader import RecipeSettings
from pops.data.recipes import find_recipe
from pops.data.sources.batches import Batch, BatchIndices, BatchSource
from pops.data.word_lists import read_words

WORDS = "pocket_adjectives"
TOLD = RecipeSettings(garment_side=6, garment_area=20, adjectives=read_words(WORDS))
SIZE = 48
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 70, 230), (230, 210, 40), (160, 40, 200))


def disc(centre: tuple[float, float] = (24, 24), radius: float = 14) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def picture(mask: np.ndarray, colour: tuple[int, ...], seed: int) -> Image.Image:
    """A thing of that colour on a background that is another for every seed."""
    pixels = np.empty((*mask.shape, 3), np.uint8)
    pixels[:] = np.random.default_rng(seed).integers(90, 140, 3)
    pixels[mask] = colour
    return Image.fromarray(pixels)


def write_texturing(folder: Path, records: int, seed: int = 0) -> Path:
    for record in range(records):
        place = folder / f"mug_{record:03d}"
        place.mkdir(parents=True)
        mask = disc((20 + record % 8, 24))
        picture(mask, (128, 128, 128), seed + record).save(place / "base.png")
        for i, colour in enumerate(COLOURS[:3]):
            picture(mask, colour, seed + record).save(place / f"colour-{i}_{record}.png")
        Image.fromarray(mask).save(place / "mask.png")
        (place / "box.json").write_text(json.dumps([4, 8, 44, 40]))
    return folder


def write_scenes(folder: Path, records: int) -> Path:
    folder.mkdir(parents=True)
    for record in range(records):
        mask = disc((20 + record % 8, 24))
        picture(mask, COLOURS[record % 5], record).save(folder / f"mug_{record}.png")
        picture(mask & False, (0, 0, 0), record).save(folder / f"mug_{record}_inpainted.png")
        np.save(folder / f"mug_{record}_inpainted.npy", mask.astype(np.uint8) * 255)
    return folder


def write_unions(folder: Path, records: int) -> Path:
    folder.mkdir(parents=True)
    for record in range(records):
        left, right = disc((12, 24), 8), disc((36, 24), 8)
        both = np.asarray(picture(left, COLOURS[record % 5], record)).copy()
        both[right] = COLOURS[(record + 1) % 5]
        Image.fromarray(both).save(folder / f"pair_{record}.png")
        for i in range(2):
            cut = Image.new("RGB", (16, 16), COLOURS[(record + i) % 5])
            cut.save(folder / f"pair_{record}_OBJ_{i}.png")
        (folder / f"pair_{record}.json").write_text("{}")
    return folder


def write_pictures(folder: Path, records: int) -> Path:
    folder.mkdir(parents=True)
    for record in range(records):
        shown = picture(disc(), COLOURS[record % 5], record)
        shown.save(folder / f"{('mug', 'car')[record % 2]}_on-the-beach_{record}.png")
    return folder


def person(record: int) -> tuple[Image.Image, np.ndarray]:
    """A picture and its labels: always a hat (1) and a bag (16), sometimes a skirt (5)."""
    labels = np.zeros((60, 40), np.uint8)
    labels[4:14, 10:30] = 1
    labels[34:50, 2:12] = 16
    if record % 2:
        labels[24:40, 16:32] = 5
    pixels = np.full((60, 40, 3), 120 + record % 40, np.uint8)
    for label, colour in ((1, COLOURS[0]), (5, COLOURS[1]), (16, COLOURS[2])):
        pixels[labels == label] = colour
    return Image.fromarray(pixels), labels


def write_persons(folder: Path, records: int) -> Path:
    folder.mkdir(parents=True)
    for record in range(records):
        shown, labels = person(record)
        shown.save(folder / f"person_{record}.png")
        Image.fromarray(labels).save(folder / f"person_{record}_mask.png")
    return folder


WRITERS = {
    "texturing": write_texturing,
    "scene": write_scenes,
    "union": write_unions,
    "instruct": write_pictures,
    "clothes": write_persons,
}


def dataset(mode: str, *places: Path, seed: int = 0, share: float = 0.5) -> ExampleDataset:
    operator, recipe = find_recipe(mode)
    named = [str(place) for place in places]
    return ExampleDataset(operator, recipe, named, TOLD, seed=seed, max_broken_share=share)


def only(source: BatchSource, plan: BatchIndices) -> Batch:
    (batch,) = source.batches(plan)
    return batch


def assert_same(a: Batch, b: Batch, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a.target, b.target, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(
        a.conditions.tokens, b.conditions.tokens, atol=tolerance, rtol=tolerance
    )
    assert torch.equal(a.conditions.mask, b.conditions.mask)
    assert (a.text_embeds is None) == (b.text_embeds is None)
    if a.text_embeds is not None and b.text_embeds is not None:
        torch.testing.assert_close(a.text_embeds, b.text_embeds, atol=tolerance, rtol=tolerance)
