"""Strips that read as equations, and labelled grids."""

from collections.abc import Sequence
from itertools import pairwise

from PIL import Image

from pops.figures.drawing import GAP, MARGIN, Cell, blank_page, draw_lines, draw_picture, draw_sign
from pops.figures.text import TEXT_GAP, TextLine, line_height, text_height, text_lines

__all__ = ["WIDEST", "grid", "strips"]

SIGN_GAP, ROW_GAP = 60, 32
WIDEST = 2000  # pixels of a row of a strip, but for a single picture


def strips(
    rows: Sequence[Sequence[Cell]], size: int = 224, title: str = "", widest: int = WIDEST
) -> Image.Image:
    """Draw rows of cells under each other; a row that is too wide goes on below its results.

    Args:
        rows: the cells of each row.
        size: the side in pixels of the square that each picture is fitted into.
        title: words above them all.
        widest: the most pixels that a row takes before it goes on below.

    Returns:
        The figure.
    """
    lines = [line for row in rows for line in _lines(row, size, widest)]
    texts = [[text_lines(cell.caption, cell.note, size) for cell in row] for _, row in lines]
    heights = [size + text_height(row) for row in texts]
    width = max(left + _width(row, size) for left, row in lines)
    head = text_lines(title, "", width) if title else []
    above = text_height([head]) + ROW_GAP // 2 if head else 0
    page = blank_page(width, above + sum(heights) + ROW_GAP * (len(lines) - 1))
    draw_lines(page, head, MARGIN, MARGIN, width)
    top = MARGIN + above
    for (left, row), row_texts, height in zip(lines, texts, heights, strict=True):
        left += MARGIN
        for at, (cell, words) in enumerate(zip(row, row_texts, strict=True)):
            gap = _gap(cell, at)
            if cell.sign:
                draw_sign(page, cell.sign, left + gap // 2, top + size // 2)
            left += gap
            draw_picture(page, cell.image, left, top, size)
            draw_lines(page, words, left, top + size + TEXT_GAP, size)
            left += size
        top += height + ROW_GAP
    return page


def _lines(row: Sequence[Cell], size: int, widest: int) -> list[tuple[int, Sequence[Cell]]]:
    """Break a row into lines that are not too wide, each with where it begins."""
    first = next((at for at, cell in enumerate(row) if cell.sign == "arrow"), 0)
    lead = _width(row[: first + 1], size) - size
    lead, first = (lead, first) if lead <= widest // 2 else (0, 0)
    each = max(1, (widest - lead + GAP) // (size + GAP))
    ends = [first + each, *range(first + 2 * each, len(row) + each, each)]
    lines = [(0, row[: ends[0]])]
    return lines + [(lead, row[a:b]) for a, b in pairwise(ends) if row[a:b]]


def _width(row: Sequence[Cell], size: int) -> int:
    return sum(size + _gap(cell, at) for at, cell in enumerate(row))


def grid(
    rows: Sequence[Sequence[Image.Image | str]],
    row_labels: Sequence[str | Cell],
    column_labels: Sequence[str | Cell],
    size: int = 192,
    title: str = "",
    widest: int | None = None,
) -> Image.Image:
    """Draw a labelled table of pictures; columns that go beyond its width go on below.

    Args:
        rows: the pictures of each row, or words in their place.
        row_labels: the label of each row: a text, or a cell whose picture stands before the row.
        column_labels: the label of each column: a text, or a cell whose picture stands above it.
        size: the side in pixels of the square that each picture is fitted into.
        title: words above the table.
        widest: the most pixels that it takes before columns go on below; None for any number.

    Returns:
        The figure.
    """
    each = len(column_labels) if widest is None else _columns_within(widest, row_labels, size)
    if each < len(column_labels):
        return _stacked(
            [
                grid(
                    [row[at : at + each] for row in rows],
                    row_labels,
                    column_labels[at : at + each],
                    size,
                    "" if at else title,
                )
                for at in range(0, len(column_labels), each)
            ]
        )
    columns = [_label(label, size) for label in column_labels]
    lefts = [_label(label, size) for label in row_labels]
    side = _label_width(row_labels, size)
    head = max(_label_height(cell, lines, size) for cell, lines in columns)
    heights = [max(size, _label_height(cell, lines, size)) for cell, lines in lefts]
    width = side + len(columns) * (size + GAP)
    words = text_lines(title, "", width) if title else []
    above = MARGIN + (text_height([words]) + GAP if words else 0)
    page = blank_page(width, above - MARGIN + head + sum(height + GAP for height in heights))
    draw_lines(page, words, MARGIN, MARGIN, width)
    for at, (cell, lines) in enumerate(columns):
        left, height = MARGIN + side + GAP + at * (size + GAP), _label_height(cell, lines, size)
        _draw_label(page, cell, lines, (left, above + head - height), size)
    top = above + head + GAP
    for row, (cell, lines), height in zip(rows, lefts, heights, strict=True):
        middle = top + (height - _label_height(cell, lines, size)) // 2
        _draw_label(page, cell, lines, (MARGIN, middle), side)
        for at, image in enumerate(row):
            draw_picture(page, image, MARGIN + side + GAP + at * (size + GAP), top, size)
        top += height + GAP
    return page


def _columns_within(widest: int, row_labels: Sequence[str | Cell], size: int) -> int:
    return max(1, (widest - _label_width(row_labels, size)) // (size + GAP))


def _label_width(labels: Sequence[str | Cell], size: int) -> int:
    """Measure the pixels that the labels of rows take before the table."""
    return max(size if _pictured(labels) else _widest([_label(one, size) for one in labels]), 1)


def _stacked(pages: Sequence[Image.Image]) -> Image.Image:
    """Stack pages with margins under each other on one."""
    height = sum(page.height - MARGIN for page in pages) - MARGIN
    whole = blank_page(max(page.width for page in pages) - 2 * MARGIN, height)
    top = 0
    for page in pages:
        whole.paste(page, (0, top))
        top += page.height - MARGIN
    return whole


def _gap(cell: Cell, at: int) -> int:
    if cell.sign:
        return SIGN_GAP
    return GAP if at else 0


_Label = tuple[Cell | None, list[TextLine]]


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


def _label_height(cell: Cell | None, lines: list[TextLine], size: int) -> int:
    if cell:
        return size + text_height([lines])
    return sum(line_height(line) for line in lines)


def _draw_label(
    page: Image.Image, cell: Cell | None, lines: list[TextLine], at: tuple[int, int], size: int
) -> None:
    left, top = at
    if cell:
        draw_picture(page, cell.image, left, top, size)
        top += size + TEXT_GAP
    draw_lines(page, lines, left, top, size)
