"""Weathered: an object, and in a word how much weather it has seen."""

from random import Random

from PIL import Image, ImageEnhance

from pops.data.reader import Reader
from pops.data.recipes import Example, Recipe
from pops.data.records.layouts import PictureRecord, read_pictures
from pops.operators import Operator

AMOUNTS = {"new": 0.0, "old": 0.5, "ancient": 1.0}


def weather(picture: Image.Image, amount: float) -> Image.Image:
    """Wash the colours out, under a layer of dust."""
    faded = ImageEnhance.Color(picture).enhance(1 - 0.8 * amount)
    return Image.blend(faded, Image.new("RGB", picture.size, "#8a7650"), 0.5 * amount)


def make(record: PictureRecord, rng: Random, reader: Reader) -> Example:
    picture = reader.picture(record.picture)
    word = rng.choice(list(AMOUNTS))
    return Example(weather(picture, AMOUNTS[word]), (picture,), text=word)


OPERATOR = Operator("weathered", ("object",), takes_text=True, drop_all=0.1)
RECIPE = Recipe("weathered", read_pictures, make)
