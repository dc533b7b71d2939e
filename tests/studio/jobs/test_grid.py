"""Grids of which some cells are not finite: the rest goes on."""

import asyncio
from collections.abc import Sequence
from io import BytesIO

import pytest
import torch
from PIL import Image

from pops.engine import Engine
from pops.errors import NotFiniteError, PopsError
from pops.io.embeddings import Embeddings
from pops.operators import TEXTURING
from pops.studio.jobs.grid import finite_ones, make_grid
from pops.studio.jobs.job import Event, Job
from pops.studio.jobs.options import Options
from pops.studio.jobs.queue import JobQueue
from pops.studio.jobs.runner import Runner
from pops.studio.store import Store, StoredItem

SETTINGS = {"steps": 2, "render_steps": 1}
HUGE = 1e38  # times usual numbers: finite, and too much for any model


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("pocket")


def item(engine: Engine, name: str, size: float = 1.0) -> StoredItem:
    row = torch.randn(1, engine.dim, generator=torch.Generator().manual_seed(len(name)))
    made = Embeddings(row.clamp(-2, 2) * size, engine.stack.name, (name,))
    return StoredItem("result", name, b"", embedding=made, expression=name, id=name)


def run(
    engine: Engine, rows: Sequence[StoredItem], columns: Sequence[StoredItem], mean: bool = False
) -> tuple[list[Event], Store]:
    """Make a grid, and give what the job told."""
    store, queue, options = Store(10**8), JobQueue(most_waiting=1), Options.read(SETTINGS)

    def work(job: Job) -> None:
        runner = Runner(engine, store)
        make_grid(runner, job, TEXTURING, rows, columns, (0, 1), mean, options)

    async def follow() -> list[Event]:
        return [event async for event in queue.submit(work).follow()]

    try:
        told = asyncio.run(follow())
    finally:
        queue.close()
    return [event for event in told if event["state"] in ("result", "lost", "done")], store


@pytest.mark.parametrize("huge_at", [0, 1])
def test_a_cell_that_is_not_finite_is_told_and_the_rest_is_what_it_is_alone(
    engine: Engine, huge_at: int
) -> None:
    good, huge = item(engine, "good"), item(engine, "huge", HUGE)
    columns = [item(engine, "a"), item(engine, "column")]
    rows = [huge, good] if huge_at == 0 else [good, huge]
    (*cells, done), store = run(engine, rows, columns, mean=True)
    places = {(cell["table"], cell["row"], cell["column"]) for cell in cells}
    assert len(places) == len(cells) == 8
    lost = [cell for cell in cells if cell["state"] == "lost"]
    assert {cell["row"] for cell in lost} == {huge_at}
    assert {cell["table"] for cell in lost} == {"texturing", "mean"}  # sampled, and drawn
    assert all("not finite" in cell["error"] for cell in lost)
    assert [cell["made"] for cell in cells] == [1, 2, 3, 4] * 2
    assert done["state"] == "done" and done["lost"] == len(lost)
    figure = store.get(done["figures"]["texturing"]["id"])
    assert Image.open(BytesIO(figure.shown)).width > 2 * 192

    def made(events: Sequence[Event], kept: Store) -> torch.Tensor:
        items = [
            kept.get(event["result"]["id"])
            for event in events
            if event["state"] == "result" and event["table"] == "texturing"
        ]
        return torch.cat([one.embedding.image_embeds for one in items])

    alone = made(*run(engine, [good], columns))
    torch.testing.assert_close(made(cells, store), alone, atol=1e-4, rtol=0)


def test_a_grid_without_any_finite_cell_fails(engine: Engine) -> None:
    with pytest.raises(PopsError, match="not finite"):
        run(engine, [item(engine, "huge", HUGE)], [item(engine, "a")])


def test_the_rest_is_made_again_without_what_is_not_finite() -> None:
    calls: list[list[int]] = []

    def make(rows: Sequence[int]) -> list[int]:
        calls.append(list(rows))
        for bad in (3, 7):  # told one at a time
            if bad in rows:
                raise NotFiniteError(f"{bad} is not finite", [list(rows).index(bad)])
        return [row * 10 for row in rows]

    lost: dict[int, str] = {}
    assert finite_ones(make, range(2, 9), lost) == ([2, 4, 5, 6, 8], [20, 40, 50, 60, 80])
    assert lost == {3: "3 is not finite", 7: "7 is not finite"}
    assert finite_ones(make, [7], lost) == ([], None)
    assert len(calls) == 4


def test_an_error_that_names_no_row_is_raised() -> None:
    def make(rows: Sequence[int]) -> list[int]:
        raise NotFiniteError("something is not finite")

    with pytest.raises(NotFiniteError, match="something"):
        finite_ones(make, [0, 1], {})
