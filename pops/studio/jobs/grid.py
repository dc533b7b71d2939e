"""Grids: every row with every column, made cell by cell; what is not finite is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from PIL import Image

from pops.compose.draw import NOT_FINITE
from pops.errors import NotFiniteError
from pops.figures import WIDEST, Cell, grid
from pops.operators import Operator
from pops.studio.jobs.runner import Runner, caption, opened, parts
from pops.studio.store import StoredItem

if TYPE_CHECKING:
    from pops.engine import Request, Source
    from pops.io.embeddings import Embeddings
    from pops.studio.jobs.job import Job
    from pops.studio.jobs.options import Options

__all__ = ["MOST_CELLS", "finite_ones", "make_grid"]

MOST_CELLS = 64  # of a grid
FIGURE_SIDE = 192

Made = TypeVar("Made")


def make_grid(
    runner: Runner,
    job: Job,
    operator: Operator,
    rows: Sequence[StoredItem],
    columns: Sequence[StoredItem | str],
    places: Sequence[int],
    mean: bool,
    options: Options,
) -> None:
    """Apply an operator to every row with every column.

    A cell whose embedding or picture is not finite is told as lost, and the rest goes on.

    Args:
        runner: Does the work of jobs.
        job: Is told of the results.
        operator: The operator.
        rows: The items of the rows.
        columns: The items of the columns, or texts.
        places: The slots of the row's item and of the column's, by their numbers.
        mean: Whether a second table has the mean of each pair.
        options: How it is sampled and rendered.

    Raises:
        NotFiniteError: No cell is finite.
    """
    heads = [*rows, *(column for column in columns if isinstance(column, StoredItem))]
    known = {item.id: item.source for item in heads}
    pairs = [(row, column) for row in rows for column in columns]
    texts = [column if isinstance(column, str) else None for _, column in pairs]
    sources = [[known[one.id] for one in pair if isinstance(one, StoredItem)] for pair in pairs]
    requests = [_placed(operator, places, given) for given in sources]
    depth_of = [runner.depth_source(request, options) for request in requests]

    def applied(cells: Sequence[int]) -> Embeddings:
        some = [requests[cell] for cell in cells], [texts[cell] for cell in cells]
        return runner.sample(job, operator.name, *some, options)

    def averaged(cells: Sequence[int]) -> Embeddings:
        both = [(sources[cell][0], sources[cell][1]) for cell in cells]
        return runner.engine.mean(both, progress=job.progress)

    job.progress("loading", 0, 1)
    tables = {operator.name: applied, **({"mean": averaged} if mean else {})}
    labels = [_label(row) for row in rows], [_label(column) for column in columns]
    figures: dict[str, dict[str, object]] = {}
    lost: dict[str, dict[int, str]] = {}
    for name, make in tables.items():
        shape = len(rows), len(columns)
        pictures, lost[name] = _cells(runner, job, name, make, shape, options, depth_of)
        title = name if name == "mean" else f"{name}, seed {options.sampling.seeds[0]}"
        figure = grid(pictures, *labels, FIGURE_SIDE, title, WIDEST)
        figures[name] = runner.keep_figure(name, figure).told
    if all(len(faults) == len(pairs) for faults in lost.values()):
        raise NotFiniteError(lost[operator.name][0])
    job.tell({"state": "done", "figures": figures, "lost": sum(map(len, lost.values()))})


def _cells(
    runner: Runner,
    job: Job,
    table: str,
    make: Callable[[Sequence[int]], Embeddings],
    shape: tuple[int, int],
    options: Options,
    depth_of: Sequence[Source | None],
) -> tuple[list[list[Image.Image | str]], dict[int, str]]:
    """Make and tell the cells of a table: its rows, and why some cells are lost, by number."""
    count, columns = shape[0] * shape[1], shape[1]
    lost: dict[int, str] = {}
    shown: list[Image.Image | str] = [NOT_FINITE] * count
    told: set[int] = set()

    def tell(cell: int, event: dict[str, object]) -> None:
        told.add(cell)
        place = {"row": cell // columns, "column": cell % columns, "table": table}
        job.tell({**event, **place, "made": len(told), "of": count})

    def tell_lost() -> None:
        for cell in sorted(lost.keys() - told):
            tell(cell, {"state": "lost", "error": lost[cell]})

    cells, made = finite_ones(make, range(count), lost)
    tell_lost()
    (seed,) = options.rendering.seeds
    for rows in parts(len(cells)):
        assert made is not None
        faults: dict[int, str] = {}
        drawn, pictures = finite_ones(
            partial(runner.draw, job, made, seed, options, [depth_of[cell] for cell in cells]),
            rows,
            faults,
        )
        lost |= {cells[row]: why for row, why in faults.items()}
        for row, picture in zip(drawn, pictures or (), strict=True):
            item = runner.keep(made[row], picture, table, seed)
            shown[cells[row]] = picture
            tell(cells[row], {"state": "result", "result": item.told})
        tell_lost()
    return [shown[at : at + columns] for at in range(0, count, columns)], lost


def finite_ones(
    make: Callable[[Sequence[int]], Made], rows: Sequence[int], lost: dict[int, str]
) -> tuple[list[int], Made | None]:
    """Make rows together; where some are not finite, make the rest without them.

    Args:
        make: Makes rows, which are named by their numbers.
        rows: The rows.
        lost: Takes, by its number, why a row is left out.

    Returns:
        The rows that were made, and what was made of them; None where no row is finite.

    Raises:
        NotFiniteError: It does not tell which rows are not finite.
    """
    rest = list(rows)
    while rest:
        try:
            return rest, make(rest)
        except NotFiniteError as error:
            if not error.rows:
                raise
            lost |= {rest[at]: str(error) for at in error.rows}
            rest = [row for row in rest if row not in lost]
    return [], None


def _placed(operator: Operator, places: Sequence[int], sources: Sequence[Source]) -> Request:
    """Make a request with sources in these slots, and nothing in the others."""
    least = max(places) + 1 if operator.min_inputs is not None else len(operator.inputs)
    request: list[Source | None] = [None] * least
    for place, source in zip(places, sources, strict=True):
        request[place] = source
    return request


def _label(head: StoredItem | str) -> Cell | str:
    return head if isinstance(head, str) else Cell(opened(head), caption(head))
