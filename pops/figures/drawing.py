"""Pages, pictures, words and signs: what every figure is drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image, ImageDraw

from pops.figures.text import QUIET, TEXT_GAP, TextLine, line_height, text_lines

__all__ = [
    "GAP",
    "MARGIN",
    "PALE",
    "SMOOTH",
    "Cell",
    "blank_page",
    "draw_lines",
    "draw_picture",
    "draw_sign",
    "draw_words",
    "fitted_size",
    "rounded",
    "words_height",
]

PALE = "#f6f6f6"
HAIRLINE = 0.13  # opacity of the black line around a picture: seen on white, lost on dark
MARGIN, GAP = 32, 16
RADIUS = 6
SMOOTH = 4  # shapes are drawn this many times larger, then reduced


@dataclass(frozen=True)
class Cell:
    """A picture with the words under it.

    Args:
        image: the picture, or words that are drawn in an empty frame, such as an instruction.
        caption: the words under it.
        note: a second, quieter line.
        sign: the sign between the cell before and this one.
    """

    image: Image.Image | str
    caption: str = ""
    note: str = ""
    sign: Literal["plus", "arrow"] | None = None


def blank_page(width: int, height: int) -> Image.Image:
    """Make a white page with a margin.

    Args:
        width: the pixels within the margin.
        height: the pixels within the margin.

    Returns:
        The page.
    """
    return Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), "white")


def draw_lines(
    page: Image.Image, lines: Sequence[TextLine], left: int, top: int, width: int
) -> None:
    """Draw lines of text under each other, each centred.

    Args:
        page: the picture to draw on.
        lines: the lines.
        left: the left edge in pixels.
        top: the upper edge in pixels.
        width: the width in pixels within which they are centred.
    """
    draw = ImageDraw.Draw(page)
    for line in lines:
        offset = (width - line.font.getlength(line.text)) / 2
        draw.text((left + round(offset), top), line.text, fill=line.colour, font=line.font)
        top += line_height(line)


def draw_picture(
    page: Image.Image, image: Image.Image | str, left: int, top: int, size: int
) -> None:
    """Draw a picture as large as fits, centred in a square, with rounded corners and a hairline.

    Args:
        page: the picture to draw on.
        image: the picture, or words in its place.
        left: the left edge of the square in pixels.
        top: the upper edge of the square in pixels.
        size: the side of the square in pixels.
    """
    if isinstance(image, str):
        draw_words(page, image, left, top, size, size)
        return
    width, height = fitted_size(image, size)
    fitted = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    at = (left + (size - width) // 2, top + (size - height) // 2)
    page.paste(fitted, at, rounded(width, height))
    page.paste("black", at, rounded(width, height, outline=True))


def fitted_size(image: Image.Image, size: int) -> tuple[int, int]:
    """Fit a picture into a square.

    Args:
        image: the picture.
        size: the side of the square in pixels.

    Returns:
        The largest width and height that keep its shape.
    """
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return width, height


def _words(words: str, width: int) -> list[TextLine]:
    return text_lines("", words, width - 2 * TEXT_GAP)


def words_height(words: str, width: int) -> int:
    """Measure words that are drawn in a frame.

    Args:
        words: the words.
        width: the width of the frame in pixels.

    Returns:
        The height that they take in pixels.
    """
    return sum(map(line_height, _words(words, width))) + 2 * TEXT_GAP


def draw_words(page: Image.Image, words: str, left: int, top: int, width: int, height: int) -> None:
    """Draw words in a pale frame.

    Args:
        page: the picture to draw on.
        words: the words.
        left: the left edge in pixels.
        top: the upper edge in pixels.
        width: the width of the frame in pixels.
        height: the height of the frame in pixels.
    """
    page.paste(PALE, (left, top), rounded(width, height))
    page.paste("black", (left, top), rounded(width, height, outline=True))
    lines = _words(words, width)
    taken = sum(map(line_height, lines))
    draw_lines(page, lines, left, top + (height - taken) // 2, width)


@cache
def rounded(width: int, height: int, outline: bool = False, radius: int = RADIUS) -> Image.Image:
    """Make the mask of a rectangle with rounded corners.

    Args:
        width: the width in pixels.
        height: the height in pixels.
        outline: whether it is the hairline around it alone.
        radius: the radius of the corners in pixels.

    Returns:
        The mask, in greys.
    """
    mask = Image.new("L", (width * SMOOTH, height * SMOOTH))
    box = (0, 0, width * SMOOTH - 1, height * SMOOTH - 1)
    fill = None if outline else 255
    ink = round(255 * HAIRLINE) if outline else 255
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * SMOOTH, fill, ink, SMOOTH)
    return mask.resize((width, height), Image.Resampling.BOX)


def draw_sign(page: Image.Image, sign: str, x: int, y: int) -> None:
    """Draw a sign of 18 pixels.

    Args:
        page: the picture to draw on.
        sign: plus or arrow.
        x: its middle in pixels.
        y: its middle in pixels.
    """
    half, line = 9 * SMOOTH, 2 * SMOOTH
    side = 2 * (half + line)
    mask = Image.new("L", (side, side))
    middle = side // 2
    strokes = {
        "plus": [[(-half, 0), (half, 0)], [(0, -half), (0, half)]],
        "arrow": [[(-half, 0), (half, 0)], [(half // 4, -half * 3 // 4), (half, 0)]]
        + [[(half // 4, half * 3 // 4), (half, 0)]],
    }[sign]
    draw = ImageDraw.Draw(mask)
    for stroke in strokes:
        ends = [(middle + a, middle + b) for a, b in stroke]
        draw.line(ends, 255, line)
        for a, b in ends:  # round caps
            draw.ellipse((a - line / 2, b - line / 2, a + line / 2, b + line / 2), 255)
    small = mask.resize((side // SMOOTH, side // SMOOTH), Image.Resampling.LANCZOS)
    page.paste(QUIET, (x - small.width // 2, y - small.height // 2), small)
