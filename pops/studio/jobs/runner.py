"""The work of a job: operators, applied by the engine and told piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.errors import UsageError
from pops.figures import Cell, strips
from pops.operators import Operator
from pops.studio.store import StoredItem, encode_picture

if TYPE_CHECKING:
    from pops.engine import Engine, Request, Source
    from pops.io.embeddings import Embeddings
    from pops.studio.jobs.job import Job
    from pops.studio.jobs.options import Options
    from pops.studio.store import Store

__all__ = ["Runner", "caption", "opened", "parts"]

AT_ONCE = 4  # pictures rendered together


@dataclass(frozen=True)
class Runner:
    """Does the work of jobs.

    Args:
        engine: What makes embeddings and pictures.
        store: Where they are kept.
    """

    engine: Engine
    store: Store

    def apply(
        self,
        job: Job,
        operator: Operator,
        items: Sequence[StoredItem | None],
        text: str | None,
        options: Options,
    ) -> None:
        """Apply an operator once; each result is told as soon as it is there.

        Args:
            job: Is told of the results.
            operator: The operator.
            items: Its inputs in the order of its slots; None for one that is left out.
            text: Its instruction, if it takes one.
            options: How it is sampled and rendered; each seed and render seed makes a result.
        """
        request = [None if item is None else item.source for item in items]
        depth_of = self.depth_source(request, options)
        job.progress("loading", 0, 1)
        made = self.sample(job, operator.name, [request], [text], options)
        results: list[StoredItem] = []
        count = len(made) * len(options.rendering.seeds)
        for render_seed in options.rendering.seeds:
            for at, picture in self.render(job, made, render_seed, options, depth_of):
                results.append(self.keep(made[at], picture, operator.name, render_seed))
                told = results[-1].told
                job.tell({"state": "result", "result": told, "made": len(results), "of": count})
        figure = self.keep_figure(operator.name, _equation(operator, items, text, results))
        told_all = [result.told for result in results]
        job.tell({"state": "done", "results": told_all, "figure": figure.told})

    def sample(
        self,
        job: Job,
        operator: str,
        requests: Sequence[Request],
        texts: Sequence[str | None],
        options: Options,
    ) -> Embeddings:
        """Apply an operator to requests.

        Args:
            job: Is told of the progress.
            operator: The name of the operator.
            requests: The requests, each a source for every slot.
            texts: The text of each request.
            options: How they are sampled.

        Returns:
            Embeddings (requests * seeds, D): all seeds of the first request, then of the next.
        """
        return self.engine.apply(
            operator,
            requests,
            text=texts,
            progress=job.progress,
            **vars(options.sampling),
        )

    def render(
        self,
        job: Job,
        made: Embeddings,
        seed: int,
        options: Options,
        *depth_of: Source | None,
    ) -> Iterator[tuple[int, Image.Image]]:
        """Render embeddings, the first one alone so that it is there soon.

        Args:
            job: Is told of the progress.
            made: The embeddings.
            seed: The seed of the renderer.
            options: How they are rendered.
            depth_of: For a renderer that keeps depth, one source for each or for all embeddings.

        Yields:
            The number of each embedding, and its picture.
        """
        for rows in parts(len(made)):
            yield from zip(rows, self.draw(job, made, seed, options, depth_of, rows), strict=True)

    def draw(
        self,
        job: Job,
        made: Embeddings,
        seed: int,
        options: Options,
        depth_of: Sequence[Source | None],
        rows: Sequence[int],
    ) -> list[Image.Image]:
        """Render some embeddings together.

        Args:
            job: Is told of the progress.
            made: The embeddings.
            seed: The seed of the renderer.
            options: How they are rendered.
            depth_of: For a renderer that keeps depth, one source for each or for all embeddings.
            rows: The numbers of the embeddings that are rendered.

        Returns:
            A picture of each of these rows.
        """
        shown = [depth_of[min(row, len(depth_of) - 1)] for row in rows] if depth_of else [None]
        return self.engine.render(
            made[list(rows)],
            depth_of=None if None in shown else shown,  # type: ignore[arg-type]
            progress=lambda what, done, total: job.progress("drawing", done, total),
            **{**vars(options.rendering), "seeds": [seed]},
        )

    def depth_source(self, request: Sequence[Source | None], options: Options) -> Source | None:
        """Choose the source whose depth is kept.

        Args:
            request: A source for every slot.
            options: Which renderer is used.

        Returns:
            The first input; None if the renderer keeps no depth.

        Raises:
            UsageError: The renderer needs the first input, which is left out.
        """
        if not options.takes_depth:
            return None
        if request[0] is None:
            name = options.rendering.renderer
            raise UsageError(f"the renderer {name} keeps the depth of the first input: give one")
        return request[0]

    def keep(
        self, made: Embeddings, picture: Image.Image, name: str, render_seed: int
    ) -> StoredItem:
        """Keep a result in the store.

        Args:
            made: One embedding.
            picture: How it was rendered.
            name: The name that people see.
            render_seed: The seed that it was rendered with.

        Returns:
            The item.
        """
        seed = made.seeds[0] if made.seeds else None
        return self.store.add(
            StoredItem(
                "result",
                name,
                encode_picture(picture),
                embedding=made,
                expression=made.expressions[0],
                seed=seed,
                render_seed=render_seed,
            )
        )

    def keep_figure(self, name: str, figure: Image.Image) -> StoredItem:
        """Keep a figure in the store.

        Args:
            name: The name that people see.
            figure: The figure.

        Returns:
            The item.
        """
        return self.store.add(StoredItem("figure", name, encode_picture(figure, "JPEG")))


def parts(count: int) -> list[range]:
    """Divide rows into batches: the first row alone, then `AT_ONCE` together.

    Args:
        count: The number of rows.

    Returns:
        The rows of each batch.
    """
    starts = [0, *range(1, count, AT_ONCE)]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True) if a < b]


def _equation(
    operator: Operator,
    items: Sequence[StoredItem | None],
    text: str | None,
    results: Sequence[StoredItem],
) -> Image.Image:
    """Draw the request as a strip: inputs, plus signs, an arrow, results."""
    optional = operator.min_inputs is not None
    slots = zip(items, operator.inputs, strict=False)
    cells = [_cell(item, slot) for item, slot in slots if item is not None or not optional]
    if text is not None:
        cells.append(Cell(text, note="text"))
    cells = [Cell(c.image, c.caption, c.note, "plus" if i else None) for i, c in enumerate(cells)]
    for at, result in enumerate(results):
        note = f"seed {result.seed}"
        cells.append(Cell(opened(result), note=note, sign=None if at else "arrow"))
    return strips([cells])


def _cell(item: StoredItem | None, slot: str) -> Cell:
    if item is None:
        return Cell("left out", note=slot)
    return Cell(opened(item), caption(item), slot)


def caption(item: StoredItem) -> str:
    """Name an item under its picture.

    Args:
        item: The item.

    Returns:
        Its name, without the ending of a file.
    """
    return item.name if item.kind == "result" else Path(item.name).stem


def opened(item: StoredItem) -> Image.Image | str:
    """Open the picture of an item, for a figure.

    Args:
        item: The item.

    Returns:
        The picture, or a word in its place where it has none.
    """
    from io import BytesIO

    return Image.open(BytesIO(item.shown), formats=["PNG", "JPEG"]) if item.shown else "embedding"
