"""Strips that read as equations, and labelled grids."""

from collections.abc import Sequence

from PIL import Image

from pops.figures.drawing import GAP, MARGIN, Cell, blank_page, draw_lines, draw_picture, draw_sign
from pops.figures.text import TEXT_GAP, Line, line_height, text_height, text_lines

__all__ = ["grid", "strips"]

SIGN_GAP, ROW_GAP = 60, 32


def strips(rows: Sequence[Sequence[Cell]], size: int = 224) -> Image.Image:
    """Draw rows of cells under each other.

    Args:
        rows: the cells of each row.
        size: the side in pixels of the square that each picture is fitted into.

    Returns:
        The figure.
    """
    texts = [[text_lines(cell.caption, cell.note, size) for cell in row] for row in rows]
    heights = [size + text_height(row) for row in texts]
    width = max(sum(size + _gap(cell, at) for at, cell in enumerate(row)) for row in rows)
    page = blank_page(width, sum(heights) + ROW_GAP * (len(rows) - 1))
    top = MARGIN
    for row, row_texts, height in zip(rows, texts, heights, strict=True):
        left = MARGIN
        for at, (cell, lines) in enumerate(zip(row, row_texts, strict=True)):
            gap = _gap(cell, at)
            if cell.sign:
                draw_sign(page, cell.sign, left + gap // 2, top + size // 2)
            left += gap
            draw_picture(page, cell.image, left, top, size)
            draw_lines(page, lines, left, top + size + TEXT_GAP, size)
            left += size
        top += height + ROW_GAP
    return page


def grid(
    rows: Sequence[Sequence[Image.Image | str]],
    row_labels: Sequence[str | Cell],
    column_labels: Sequence[str | Cell],
    size: int = 192,
) -> Image.Image:
    """Draw a labelled table of pictures.

    Args:
        rows: the pictures of each row, or words in their place.
        row_labels: the label of each row: a text, or a cell whose picture stands before the row.
        column_labels: the label of each column: a text, or a cell whose picture stands above it.
        size: the side in pixels of the square that each picture is fitted into.

    Returns:
        The figure.
    """
    columns = [_label(label, size) for label in column_labels]
    lefts = [_label(label, size) for label in row_labels]
    side = max(size if _pictured(row_labels) else _widest(lefts), 1)
    head = max(_label_height(cell, lines, size) for cell, lines in columns)
    heights = [max(size, _label_height(cell, lines, size)) for cell, lines in lefts]
    page = blank_page(
        side + len(columns) * (size + GAP), head + sum(height + GAP for height in heights)
    )
    for at, (cell, lines) in enumerate(columns):
        left, height = MARGIN + side + GAP + at * (size + GAP), _label_height(cell, lines, size)
        _draw_label(page, cell, lines, (left, MARGIN + head - height), size)
    top = MARGIN + head + GAP
    for row, (cell, lines), height in zip(rows, lefts, heights, strict=True):
        middle = top + (height - _label_height(cell, lines, size)) // 2
        _draw_label(page, cell, lines, (MARGIN, middle), side)
        for at, image in enumerate(row):
            draw_picture(page, image, MARGIN + side + GAP + at * (size + GAP), top, size)
        top += height + GAP
    return page


def _gap(cell: Cell, at: int) -> int:
    if cell.sign:
        return SIGN_GAP
    return GAP if at else 0


_Label = tuple[Cell | None, list[Line]]


def _label(label: str | Cell, width: int) -> _Label:
    if isinstance(label, str):
        return None, text_lines(label, "", width)
    return label, text_lines(label.caption, label.note, width)


def _pictured(labels: Sequence[str | Cell]) -> bool:
    return any(isinstance(label, Cell) for label in labels)


def _widest(labels: Sequence[_Label]) -> int:
    return max(
        (round(line.font.getlength(line.text)) + 1 for _, lines in labels for line in lines),
        default=0,
    )


def _label_height(cell: Cell | None, lines: list[Line], size: int) -> int:
    if cell:
        return size + text_height([lines])
    return sum(line_height(line) for line in lines)


def _draw_label(
    page: Image.Image, cell: Cell | None, lines: list[Line], at: tuple[int, int], size: int
) -> None:
    left, top = at
    if cell:
        draw_picture(page, cell.image, left, top, size)
        top += size + TEXT_GAP
    draw_lines(page, lines, left, top, size)
