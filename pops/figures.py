"""Figures of pictures with captions: strips that read as equations, labelled grids, and trees.

White pages, hairline frames, one quiet typeface that comes with Pillow. A caption is never cut:
it is wrapped to the width of its cell, in smaller type when it is long, and the row grows.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Branch", "Cell", "grid", "strips", "tree", "wrap"]

INK, QUIET, FAINT, PALE = "#262626", "#8c8c8c", "#bdbdbd", "#f6f6f6"
HAIRLINE = 0.13  # opacity of the black line around a picture: seen on white, lost on dark
MARGIN, GAP, SIGN_GAP, ROW_GAP = 32, 16, 60, 32
TEXT_GAP = 10  # between a picture and its caption
RADIUS = 6
SMOOTH = 4  # shapes are drawn this many times larger, then reduced
SIZES = (17, 15, 13)  # of captions
NOTE_SIZE = 14
MANY_LINES = 2  # a caption of more lines tries the next smaller size
# Of trees: how much larger the last result is; the lengths of the curves into an operator's name
# and of the arrow from it; the space before a curve, and between inputs.
RESULT_SCALE, CURVE, ARROW, STUB, BRANCH_GAP = 1.5, 60, 48, 6, 26

# Pillow's own typeface draws ASCII and little else; these have a near relative in it.
_RELATIVES = str.maketrans("–—−×‘•→", "---x'*>")
_DRAWN = frozenset(map(chr, range(32, 127))) | frozenset("·…’“”")


@dataclass(frozen=True)
class Cell:
    """A picture with what is written under it.

    In place of a picture there may be words, such as an instruction, drawn in an empty frame.
    `note` is a second, quieter line. `sign` is drawn between the cell before and this one.
    """

    image: Image.Image | str
    caption: str = ""
    note: str = ""
    sign: Literal["plus", "arrow"] | None = None


@dataclass(frozen=True)
class _Line:
    text: str
    font: ImageFont.FreeTypeFont
    colour: str


def strips(rows: Sequence[Sequence[Cell]], size: int = 224) -> Image.Image:
    """Rows of cells under each other, each picture fitted into `size` x `size` pixels."""
    texts = [[_text(cell.caption, cell.note, size) for cell in row] for row in rows]
    heights = [size + _text_height(row) for row in texts]
    width = max(sum(size + _gap(cell, at) for at, cell in enumerate(row)) for row in rows)
    page = _page(width, sum(heights) + ROW_GAP * (len(rows) - 1))
    top = MARGIN
    for row, row_texts, height in zip(rows, texts, heights, strict=True):
        left = MARGIN
        for at, (cell, lines) in enumerate(zip(row, row_texts, strict=True)):
            gap = _gap(cell, at)
            if cell.sign:
                _draw_sign(page, cell.sign, left + gap // 2, top + size // 2)
            left += gap
            _draw_picture(page, cell.image, left, top, size)
            _draw_lines(page, lines, left, top + size + TEXT_GAP, size)
            left += size
        top += height + ROW_GAP
    return page


def grid(
    rows: Sequence[Sequence[Image.Image | str]],
    row_labels: Sequence[str | Cell],
    column_labels: Sequence[str | Cell],
    size: int = 192,
) -> Image.Image:
    """A table of pictures; a label is text, or a cell whose picture heads its row or column."""
    columns = [_label(label, size) for label in column_labels]
    lefts = [_label(label, size) for label in row_labels]
    side = max(size if _pictured(row_labels) else _widest(lefts), 1)
    head = max(_label_height(cell, lines, size) for cell, lines in columns)
    heights = [max(size, _label_height(cell, lines, size)) for cell, lines in lefts]
    page = _page(side + len(columns) * (size + GAP), head + sum(height + GAP for height in heights))
    for at, (cell, lines) in enumerate(columns):
        left, height = MARGIN + side + GAP + at * (size + GAP), _label_height(cell, lines, size)
        _draw_label(page, cell, lines, (left, MARGIN + head - height), size)
    top = MARGIN + head + GAP
    for row, (cell, lines), height in zip(rows, lefts, heights, strict=True):
        middle = top + (height - _label_height(cell, lines, size)) // 2
        _draw_label(page, cell, lines, (MARGIN, middle), side)
        for at, image in enumerate(row):
            _draw_picture(page, image, MARGIN + side + GAP + at * (size + GAP), top, size)
        top += height + GAP
    return page


@dataclass(frozen=True)
class Branch:
    """A cell, with what it was made of and the name of what made it."""

    cell: Cell
    made_by: str = ""
    inputs: tuple["Branch", ...] = ()


@dataclass
class _Placed:
    """A branch on the page, with its inputs left of it."""

    branch: Branch
    lines: list[_Line]
    left: int
    top: int
    width: int
    height: int  # of the picture, or of the words in place of one
    inputs: list["_Placed"]

    @property
    def middle(self) -> int:
        return self.top + self.height // 2

    @property
    def bottom(self) -> int:
        return self.top + self.height + _text_height([self.lines])


def tree(root: Branch, size: int = 168) -> Image.Image:
    """How a result was made: inputs on the left, each result right of its own, the last larger.

    Pictures are fitted into `size` x `size` pixels; words take only the height they need.
    """
    pill = 2 * GAP + round(max(map(_pill_text_width, _branches(root))))
    gap, deep, large = CURVE + pill + ARROW, _depth(root), round(size * RESULT_SCALE)
    floors = [MARGIN] * (deep + 1)
    placed = _place(root, MARGIN + deep * (size + gap), large, (size, gap), floors)
    page = _page(deep * (size + gap) + large, max(floors) - BRANCH_GAP - MARGIN)
    _draw_branch(page, placed, pill)
    return page


def _branches(root: Branch) -> list[Branch]:
    return [root, *(branch for made in root.inputs for branch in _branches(made))]


def _depth(branch: Branch) -> int:
    return max((1 + _depth(made) for made in branch.inputs), default=0)


def _pill_text_width(branch: Branch) -> float:
    return _font(SIZES[1]).getlength(_drawable(branch.made_by))


def _place(
    branch: Branch, left: int, width: int, column: tuple[int, int], floors: list[int], at: int = 0
) -> _Placed:
    """A branch at `left`, as high as its inputs and what is above it allow.

    `column`: the width of its inputs, and the gap between them and it. `floors`: where the next
    picture of each column may begin; `at` is the branch's own column, from the right.
    """
    size, gap = column
    inputs = [
        _place(made, left - size - gap, size, column, floors, at + 1) for made in branch.inputs
    ]
    image, lines = branch.cell.image, _text(branch.cell.caption, branch.cell.note, width)
    height = _words_height(image, width) if isinstance(image, str) else _fitted(image, width)[1]
    own = _Placed(branch, lines, left, floors[at], width, height, inputs)
    if inputs:
        middle = (inputs[0].middle + inputs[-1].middle) // 2
        own.top = max(floors[at], middle - height // 2)
        _lower(inputs, own.middle - middle, floors, at + 1)
    floors[at] = own.bottom + BRANCH_GAP
    return own


def _lower(placed: Sequence[_Placed], by: int, floors: list[int], at: int) -> None:
    for one in placed:
        one.top += by
        floors[at] = max(floors[at], one.bottom + BRANCH_GAP)
        _lower(one.inputs, by, floors, at + 1)


def _draw_branch(page: Image.Image, placed: _Placed, pill: int) -> None:
    branch, left, top = placed.branch, placed.left, placed.top
    image = branch.cell.image
    if isinstance(image, str):
        _draw_words(page, image, left, top, placed.width, placed.height)
    else:
        _draw_picture(page, image, left, top - (placed.width - placed.height) // 2, placed.width)
    _draw_lines(page, placed.lines, left, top + placed.height + TEXT_GAP, placed.width)
    if not placed.inputs:
        return
    start, middle = left - ARROW - pill, placed.middle
    for made in placed.inputs:
        _draw_branch(page, made, pill)
        _draw_curve(page, made.left + made.width + STUB, made.middle, start, middle)
    half = round(_line_height(_Line("", _font(SIZES[1]), INK)) / 2) + TEXT_GAP // 2
    page.paste(PALE, (start, middle - half), _rounded(pill, 2 * half, radius=half))
    page.paste("black", (start, middle - half), _rounded(pill, 2 * half, True, half))
    name = _Line(_drawable(branch.made_by), _font(SIZES[1]), INK)
    _draw_lines(page, [name], start, middle - half + TEXT_GAP // 2, pill)
    _draw_sign(page, "arrow", left - ARROW // 2, middle)


def _draw_curve(page: Image.Image, x0: int, y0: int, x1: int, y1: int) -> None:
    """A line that leaves (x0, y0) and reaches (x1, y1) level, in a quiet grey."""
    low, high = min(y0, y1) - 2, max(y0, y1) + 2
    mask = Image.new("L", ((x1 - x0) * SMOOTH, (high - low) * SMOOTH))
    steps = [i / 64 for i in range(65)]
    ease = [t * t * (3 - 2 * t) for t in steps]
    points = [
        ((x1 - x0) * t * SMOOTH, (y0 + (y1 - y0) * e - low) * SMOOTH)
        for t, e in zip(steps, ease, strict=True)
    ]
    ImageDraw.Draw(mask).line(points, 255, 2 * SMOOTH, joint="curve")
    page.paste(FAINT, (x0, low), mask.resize((x1 - x0, high - low), Image.Resampling.BOX))


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """`text` in lines no wider than `width`, broken at spaces, after marks, or inside a word."""
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
    """How many letters of `word` go into `width`: at least one."""
    fits = 1
    while fits < len(word) and font.getlength(word[: fits + 1]) <= width:
        fits += 1
    return fits


def _pieces(text: str) -> list[str]:
    """The parts of `text` between which a line may break; joined they are `text`."""
    pieces = [""]
    for letter in text:
        pieces[-1] += letter
        if letter in " _-/.,+":
            pieces.append("")
    return pieces


def _drawable(text: str) -> str:
    plain = unicodedata.normalize("NFKD", " ".join(text.split()).translate(_RELATIVES))
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if letter in _DRAWN else "?" for letter in letters)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels all carry FreeType
    return font


def _text(caption: str, note: str, width: int) -> list[_Line]:
    caption, note = _drawable(caption), _drawable(note)
    for size in SIZES:
        lines = wrap(caption, _font(size), width)
        if len(lines) <= MANY_LINES:
            break
    drawn = [_Line(line, _font(size), INK) for line in lines]
    quiet = _font(NOTE_SIZE)
    return drawn + [_Line(line, quiet, QUIET) for line in wrap(note, quiet, width)]


def _text_height(texts: Sequence[Sequence[_Line]]) -> int:
    tallest = max((sum(_line_height(line) for line in lines) for lines in texts), default=0)
    return TEXT_GAP + tallest if tallest else 0


def _line_height(line: _Line) -> int:
    return round(line.font.size * 1.35)


def _gap(cell: Cell, at: int) -> int:
    if cell.sign:
        return SIGN_GAP
    return GAP if at else 0


_Label = tuple[Cell | None, list[_Line]]


def _label(label: str | Cell, width: int) -> _Label:
    if isinstance(label, str):
        return None, _text(label, "", width)
    return label, _text(label.caption, label.note, width)


def _pictured(labels: Sequence[str | Cell]) -> bool:
    return any(isinstance(label, Cell) for label in labels)


def _widest(labels: Sequence[_Label]) -> int:
    return max(
        (round(line.font.getlength(line.text)) + 1 for _, lines in labels for line in lines),
        default=0,
    )


def _label_height(cell: Cell | None, lines: list[_Line], size: int) -> int:
    if cell:
        return size + _text_height([lines])
    return sum(_line_height(line) for line in lines)


def _draw_label(
    page: Image.Image, cell: Cell | None, lines: list[_Line], at: tuple[int, int], size: int
) -> None:
    left, top = at
    if cell:
        _draw_picture(page, cell.image, left, top, size)
        top += size + TEXT_GAP
    _draw_lines(page, lines, left, top, size)


def _page(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), "white")


def _draw_lines(page: Image.Image, lines: Sequence[_Line], left: int, top: int, width: int) -> None:
    draw = ImageDraw.Draw(page)
    for line in lines:
        offset = (width - line.font.getlength(line.text)) / 2
        draw.text((left + round(offset), top), line.text, fill=line.colour, font=line.font)
        top += _line_height(line)


def _draw_picture(
    page: Image.Image, image: Image.Image | str, left: int, top: int, size: int
) -> None:
    """`image` as large as fits, centred in its square, with rounded corners and a hairline."""
    if isinstance(image, str):
        _draw_words(page, image, left, top, size, size)
        return
    width, height = _fitted(image, size)
    fitted = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    at = (left + (size - width) // 2, top + (size - height) // 2)
    page.paste(fitted, at, _rounded(width, height))
    page.paste("black", at, _rounded(width, height, outline=True))


def _fitted(image: Image.Image, size: int) -> tuple[int, int]:
    """Width and height of `image` made as large as goes into a square."""
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return width, height


def _words(words: str, width: int) -> list[_Line]:
    return _text("", words, width - 2 * TEXT_GAP)


def _words_height(words: str, width: int) -> int:
    return sum(map(_line_height, _words(words, width))) + 2 * TEXT_GAP


def _draw_words(
    page: Image.Image, words: str, left: int, top: int, width: int, height: int
) -> None:
    page.paste(PALE, (left, top), _rounded(width, height))
    page.paste("black", (left, top), _rounded(width, height, outline=True))
    lines = _words(words, width)
    taken = sum(map(_line_height, lines))
    _draw_lines(page, lines, left, top + (height - taken) // 2, width)


@cache
def _rounded(width: int, height: int, outline: bool = False, radius: int = RADIUS) -> Image.Image:
    mask = Image.new("L", (width * SMOOTH, height * SMOOTH))
    box = (0, 0, width * SMOOTH - 1, height * SMOOTH - 1)
    fill = None if outline else 255
    ink = round(255 * HAIRLINE) if outline else 255
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * SMOOTH, fill, ink, SMOOTH)
    return mask.resize((width, height), Image.Resampling.BOX)


def _draw_sign(page: Image.Image, sign: str, x: int, y: int) -> None:
    """A plus or an arrow of 18 pixels around (x, y)."""
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
