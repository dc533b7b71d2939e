"""Contact sheets of what operators make of the first held-out requests, which nobody picked."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pops.engine import Engine
from pops.evaluation.pocket.cases import Progress, draw_scenes
from pops.evaluation.pocket.run import SEED, TASKS
from pops.evaluation.pocket.task import Asking
from pops.figures.drawing import GAP, MARGIN, blank_page, draw_lines, draw_picture
from pops.figures.text import TextLine, text_height, text_lines
from pops.pocket.world.scene import Scene

__all__ = ["result_sheet"]

COLUMNS, SIZE, SMALL = 8, 160, 48  # pixels of a result, and of what it was made of


@dataclass(frozen=True)
class _Tile:
    """One request: small, what was given; large, what came of it; and what was asked for."""

    given: Sequence[Image.Image | str]
    made: Image.Image
    lines: list[TextLine]


def result_sheet(
    operator: str, engine: Engine, count: int = 40, progress: Progress | None = None
) -> Image.Image:
    """Draw the first requests of the pocket benchmark with what an operator makes of each.

    Args:
        operator: Its name.
        engine: The engine of a stack of the pocket world.
        count: The number of requests.
        progress: Told how far it is.

    Returns:
        The sheet; under every result stands what was asked for.
    """
    size = engine.stack.render_settings.size
    task = TASKS[operator](Asking(size, limit=count))
    scenes = [one for request in task.inputs for one in request if isinstance(one, Scene)]
    drawn = draw_scenes(scenes, size, progress)
    inputs = [
        tuple(drawn[one] if isinstance(one, Scene) else one for one in request)
        for request in task.inputs
    ]
    made = engine.apply(operator, inputs, text=task.texts, seeds=(SEED,), progress=progress)
    texts = task.texts or [""] * len(inputs)
    tiles = [
        _Tile(
            [*(one for one in request if one is not None), *([text] if text else [])],
            picture,
            text_lines("", twin.caption, SIZE),
        )
        for request, text, picture, twin in zip(
            inputs,
            texts,
            engine.render(made, seeds=(0,), progress=progress),
            task.twins,
            strict=True,
        )
    ]
    return _page(tiles)


def _page(tiles: Sequence[_Tile]) -> Image.Image:
    """Lay tiles in rows; what is given overlaps nothing and is as small as its number needs."""
    rows = [tiles[i : i + COLUMNS] for i in range(0, len(tiles), COLUMNS)]
    heights = [
        SMALL + GAP // 2 + SIZE + text_height([tile.lines for tile in row]) + GAP for row in rows
    ]
    page = blank_page(min(COLUMNS, len(tiles)) * (SIZE + GAP) - GAP, sum(heights) - GAP)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for at, tile in enumerate(row):
            _draw_tile(page, tile, MARGIN + at * (SIZE + GAP), top)
        top += height
    return page


def _draw_tile(page: Image.Image, tile: _Tile, left: int, top: int) -> None:
    gap = GAP // 4
    side = min(SMALL, (SIZE + gap) // len(tile.given) - gap)
    start = left + (SIZE - len(tile.given) * (side + gap) + gap) // 2
    for at, image in enumerate(tile.given):
        draw_picture(page, image, start + at * (side + gap), top + SMALL - side, side)
    below = top + SMALL + GAP // 2
    draw_picture(page, tile.made, left, below, SIZE)
    draw_lines(page, tile.lines, left, below + SIZE + GAP // 4, SIZE)
