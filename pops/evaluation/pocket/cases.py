"""Tasks of the pocket benchmark with their pictures drawn and their galleries encoded."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import cpu_count

import torch
from PIL import Image
from torch import Tensor

from pops.engine import Engine
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Task
from pops.io.machine.processes import process_pool
from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene
from pops.training.validation.retrieval import Retrieval, cosine_ranks, mean_retrieval

__all__ = ["Case", "Progress", "draw_scenes", "open_cases", "retrieve"]

CHUNK = 160  # scenes drawn at once

Progress = Callable[[str, int, int], None]


def retrieve(
    queries: Tensor, gallery: Tensor, right: Sequence[Sequence[int]]
) -> tuple[Retrieval, list[int]]:
    """Look up queries in a gallery by cosine.

    Args:
        queries: embeddings (Q, D).
        gallery: embeddings (G, D).
        right: for each query the rows of the gallery that are right; the best of them counts.

    Returns:
        How well the queries find what they want, and for each query the nearest row.
    """
    allowed = torch.zeros(len(queries), len(gallery), dtype=torch.bool, device=queries.device)
    for query, rows in enumerate(right):
        allowed[query, list(rows)] = True
    cosine, rank, nearest = cosine_ranks(queries, gallery, allowed)
    return mean_retrieval(cosine, rank), nearest.tolist()


# --- pictures -------------------------------------------------------------------------------


def _draw(scenes: Sequence[Scene], size: int) -> Tensor:
    torch.set_num_threads(1)
    return render(scenes, size).pictures


def _geometry(scene: Scene) -> str:
    return repr((scene.view, [(i.shape, i.x) for i in scene.items]))


def draw_scenes(
    scenes: Iterable[Scene], size: int, progress: Progress | None
) -> dict[Scene, Image.Image]:
    """Draw the picture of every scene, in one process per core.

    Neighbours share geometry, which is traced once in each chunk.

    Args:
        scenes: The scenes, of which each is drawn once.
        size: Pixels of a side.
        progress: Told how far it is.

    Returns:
        The picture of each.
    """
    ordered = sorted(dict.fromkeys(scenes), key=_geometry)
    chunks = [ordered[i : i + CHUNK] for i in range(0, len(ordered), CHUNK)]
    drawn: list[Image.Image] = []
    with process_pool(cpu_count() or 1, "spawn") as pool:
        for chunk in pool.map(partial(_draw, size=size), chunks):
            drawn += [Image.fromarray(p.numpy()) for p in chunk]
            if progress:
                progress("render pictures", len(drawn), len(ordered))
    return dict(zip(ordered, drawn, strict=True))


def _scenes(task: Task) -> list[Scene]:
    given = [source for request in task.inputs for source in request if isinstance(source, Scene)]
    return [*given, *task.twins, *(scene for _, scene in task.gallery)]


# --- one task -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A task with its pictures and the gallery's embeddings.

    twins and others: for every request two more pictures of what it asks for.
    """

    task: Task
    inputs: list[tuple[Image.Image | None, ...]]
    twins: list[Image.Image]
    others: list[Image.Image]
    gallery: Tensor
    right: list[list[int]]

    def first(self, count: int) -> "Case":
        """Take the first requests alone; the gallery stays as large.

        Args:
            count: the number of requests.

        Returns:
            The smaller case.
        """
        task = replace(self.task, wanted=self.task.wanted[:count])
        return replace(self, task=task, right=self.right[:count])

    def numbers(self, queries: Tensor) -> dict[str, float]:
        """Measure embeddings that answer the requests.

        Args:
            queries: embeddings (Q, D), one for each request.

        Returns:
            Shares by name, and `mean_rank`.
        """
        found, nearest = retrieve(queries, self.gallery, self.right)
        names = [self.task.gallery[row][0] for row in nearest]
        shares = {
            share: sum(map(says, names, self.task.wanted)) / len(names)
            for share, says in self.task.shares.items()
        }
        ranks = {"top1": found.top1, "top5": found.top5, "mean_rank": found.mean_rank}
        return {**ranks, **shares}


def _case(task: Task, drawn: Mapping[Scene, Image.Image], engine: Engine) -> Case:
    def picture(source: Scene | Image.Image | None) -> Image.Image | None:
        return drawn[source] if isinstance(source, Scene) else source

    places: dict[Shown, list[int]] = {}
    for row, (name, _) in enumerate(task.gallery):
        places.setdefault(name, []).append(row)
    right = [places[name] for name in task.wanted]
    return Case(
        task=task,
        inputs=[tuple(map(picture, request)) for request in task.inputs],
        twins=[drawn[scene] for scene in task.twins],
        others=[drawn[task.gallery[rows[0]][1]] for rows in right],
        gallery=engine.encode([drawn[scene] for _, scene in task.gallery]).image_embeds,
        right=right,
    )


def open_cases(
    tasks: Mapping[str, Task], size: int, engine: Engine, progress: Progress | None
) -> Iterator[tuple[str, Case]]:
    """Open the cases of tasks by operator, whose pictures are drawn together.

    Args:
        tasks: The tasks.
        size: Pixels of a side of a picture.
        engine: What encodes the galleries.
        progress: Told how far it is.

    Yields:
        Each operator's name and case, in the order of the tasks.
    """
    scenes = (scene for task in tasks.values() for scene in _scenes(task))
    drawn = draw_scenes(scenes, size, progress)
    for name, task in tasks.items():
        yield name, _case(task, drawn, engine)
