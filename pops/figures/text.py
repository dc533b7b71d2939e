"""Captions: what Pillow's own typeface can draw of a text, wrapped to a width."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import ImageFont

__all__ = ["TextLine", "drawable", "font_of", "line_height", "text_height", "text_lines", "wrap"]

INK, QUIET = "#262626", "#8c8c8c"
TEXT_GAP = 10  # between a picture and its caption
SIZES = (17, 15, 13)  # of captions
NOTE_SIZE = 14
MANY_LINES = 2  # a caption of more lines tries the next smaller size

# Pillow's own typeface draws ASCII and little else; these have a near relative in it.
_RELATIVES = str.maketrans("–—−×‘•→", "---x'*>")
_DRAWN = frozenset(map(chr, range(32, 127))) | frozenset("·…’“”")


@dataclass(frozen=True)
class TextLine:
    """A line of text with its typeface and colour."""

    text: str
    font: ImageFont.FreeTypeFont
    colour: str


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a text into lines at spaces, after marks, or inside a word that is too long.

    Args:
        text: the text.
        font: the typeface.
        width: the largest width of a line in pixels.

    Returns:
        The lines.
    """
    lines, line = [], ""
    for piece in _pieces(text):
        if font.getlength((line + piece).rstrip()) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = piece.lstrip()
        while (fits := _fitting(line, font, width)) < len(line.rstrip()):
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line.rstrip()] if line.strip() else lines


def _fitting(word: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    """Count the letters of `word` that go into `width`: at least one."""
    fits = 1
    while fits < len(word) and font.getlength(word[: fits + 1]) <= width:
        fits += 1
    return fits


def _pieces(text: str) -> list[str]:
    """List the parts of `text` between which a line may break; joined they are `text`."""
    pieces = [""]
    for letter in text:
        pieces[-1] += letter
        if letter in " _-/.,+":
            pieces.append("")
    return pieces


def drawable(text: str) -> str:
    """Put letters that the typeface does not have into those that it has.

    Args:
        text: any text.

    Returns:
        The text in one line, with `?` for letters that have no relative in the typeface.
    """
    plain = unicodedata.normalize("NFKD", " ".join(text.split()).translate(_RELATIVES))
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if letter in _DRAWN else "?" for letter in letters)


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Give Pillow's own typeface.

    Args:
        size: its size in pixels.

    Returns:
        The typeface.
    """
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels all carry FreeType
    return font


def text_lines(caption: str, note: str, width: int) -> list[TextLine]:
    """Break a caption and a note into lines; a long caption is set smaller.

    Args:
        caption: the caption.
        note: the quieter line under it.
        width: the largest width of a line in pixels.

    Returns:
        The lines of both.
    """
    caption, note = drawable(caption), drawable(note)
    for size in SIZES:
        lines = wrap(caption, font_of(size), width)
        if len(lines) <= MANY_LINES:
            break
    drawn = [TextLine(line, font_of(size), INK) for line in lines]
    quiet = font_of(NOTE_SIZE)
    return drawn + [TextLine(line, quiet, QUIET) for line in wrap(note, quiet, width)]


def text_height(texts: Sequence[Sequence[TextLine]]) -> int:
    """Measure the captions of a row.

    Args:
        texts: the lines of each cell.

    Returns:
        The height in pixels of the tallest, with the gap above it.
    """
    tallest = max((sum(line_height(line) for line in lines) for lines in texts), default=0)
    return TEXT_GAP + tallest if tallest else 0


def line_height(line: TextLine) -> int:
    """Measure a line.

    Args:
        line: the line.

    Returns:
        Its height in pixels.
    """
    return round(line.font.size * 1.35)
