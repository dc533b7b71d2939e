"""Trees: how a result was made, of what, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pops.figures.drawing import (
    GAP,
    MARGIN,
    PALE,
    SMOOTH,
    Cell,
    blank_page,
    draw_lines,
    draw_picture,
    draw_sign,
    draw_words,
    fitted_size,
    rounded,
    words_height,
)
from pops.figures.text import (
    INK,
    SIZES,
    TEXT_GAP,
    TextLine,
    drawable,
    font_of,
    line_height,
    text_height,
    text_lines,
)

__all__ = ["Branch", "tree"]

FAINT = "#bdbdbd"
# How much larger the last result is; the lengths of the curves into an operator's name and of the
# arrow from it; the space before a curve, and between inputs.
RESULT_SCALE, CURVE, ARROW, STUB, BRANCH_GAP = 1.5, 60, 48, 6, 26


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
    lines: list[TextLine]
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
        return self.top + self.height + text_height([self.lines])


def tree(root: Branch, size: int = 168) -> Image.Image:
    """Draw a tree: the inputs on the left, the result on the right.

    Args:
        root: the result, with all that it was made of.
        size: the side in pixels of the square that each picture is fitted into.

    Returns:
        The figure.
    """
    pill = 2 * GAP + round(max(map(_pill_text_width, _branches(root))))
    gap, deep, large = CURVE + pill + ARROW, _depth(root), round(size * RESULT_SCALE)
    floors = [MARGIN] * (deep + 1)
    placed = _place(root, MARGIN + deep * (size + gap), large, (size, gap), floors)
    page = blank_page(deep * (size + gap) + large, max(floors) - BRANCH_GAP - MARGIN)
    _draw_branch(page, placed, pill)
    return page


def _branches(root: Branch) -> list[Branch]:
    return [root, *(branch for made in root.inputs for branch in _branches(made))]


def _depth(branch: Branch) -> int:
    return max((1 + _depth(made) for made in branch.inputs), default=0)


def _pill_text_width(branch: Branch) -> float:
    return font_of(SIZES[1]).getlength(drawable(branch.made_by))


def _place(
    branch: Branch, left: int, width: int, column: tuple[int, int], floors: list[int], at: int = 0
) -> _Placed:
    """Place a branch at `left`, as high as its inputs and what is above it allow.

    `column`: the width of its inputs, and the gap between them and it. `floors`: where the next
    picture of each column may begin; `at` is the branch's own column, from the right.
    """
    size, gap = column
    inputs = [
        _place(made, left - size - gap, size, column, floors, at + 1) for made in branch.inputs
    ]
    image, lines = branch.cell.image, text_lines(branch.cell.caption, branch.cell.note, width)
    height = words_height(image, width) if isinstance(image, str) else fitted_size(image, width)[1]
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
        draw_words(page, image, left, top, placed.width, placed.height)
    else:
        draw_picture(page, image, left, top - (placed.width - placed.height) // 2, placed.width)
    draw_lines(page, placed.lines, left, top + placed.height + TEXT_GAP, placed.width)
    if not placed.inputs:
        return
    start, middle = left - ARROW - pill, placed.middle
    for made in placed.inputs:
        _draw_branch(page, made, pill)
        _draw_curve(page, made.left + made.width + STUB, made.middle, start, middle)
    half = round(line_height(TextLine("", font_of(SIZES[1]), INK)) / 2) + TEXT_GAP // 2
    page.paste(PALE, (start, middle - half), rounded(pill, 2 * half, radius=half))
    page.paste("black", (start, middle - half), rounded(pill, 2 * half, True, half))
    name = TextLine(drawable(branch.made_by), font_of(SIZES[1]), INK)
    draw_lines(page, [name], start, middle - half + TEXT_GAP // 2, pill)
    draw_sign(page, "arrow", left - ARROW // 2, middle)


def _draw_curve(page: Image.Image, x0: int, y0: int, x1: int, y1: int) -> None:
    """Draw a line that leaves (x0, y0) and reaches (x1, y1) level, in a quiet grey."""
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
