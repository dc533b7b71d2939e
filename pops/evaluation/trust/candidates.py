"""Pictures that answer a request of the pocket benchmark, from right to wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from pops.engine import Engine
from pops.evaluation.metrics.base import Made
from pops.evaluation.pocket.judged import see
from pops.evaluation.pocket.run import TASKS, mean_embeddings
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Asking, Task
from pops.evaluation.trust.truth import name_seen, truth_of
from pops.io.embeddings import Embeddings
from pops.operators import OPERATORS
from pops.pocket.judge import Judge
from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene
from pops.pocket.world.vocabulary import MATERIAL_WORDS
from pops.settings.progress import Progress

__all__ = ["DRAWN", "Candidate", "list_candidates", "make_task"]

DRAWN = ("truth", "wrong", "input", "noise")  # whose truth is exact; that of others is judged
WRONG = 3  # wrong answers to each request
NOISE = 0.5  # of the embedding of the truth, in its own standard deviations
CHUNK = 32  # scenes drawn at once


@dataclass(frozen=True)
class Candidate:
    """A picture for a request: where it comes from, and how right it is.

    Args:
        request: the number of the request.
        kind: truth, wrong, input, noise, or operator, mean, redrawn, noised.
        made: the picture, and what it is measured against.
        truth: how right it is, part by part.
    """

    request: int
    kind: str
    made: Made
    truth: dict[str, float]


def make_task(operator: str, count: int, size: int) -> Task:
    """Draw requests to an operator at random from all that are held out, the same in every run.

    Args:
        operator: Its name.
        count: The number of requests.
        size: Pixels a side of the pictures.

    Returns:
        The task, whose pictures are not drawn yet.
    """
    return TASKS[operator](Asking(size, limit=count, drawn=True))


def list_candidates(
    operator: str,
    task: Task,
    requests: Sequence[int],
    engine: Engine,
    judge: Judge,
    progress: Progress | None = None,
) -> list[Candidate]:
    """Make the pictures for some of the requests to an operator.

    Args:
        operator: Its name.
        task: All requests to it.
        requests: The numbers of those that are wanted.
        engine: The engine of a stack of the pocket world.
        judge: Tells what rendered pictures show.
        progress: Told how far it is.

    Returns:
        The candidates.
    """
    wrong = {at: _wrong(task, at) for at in requests}
    drawn = _draw(_scenes(task, wrong), engine.stack.render_settings.size)

    def picture(source: Scene | Image.Image | None) -> Image.Image | None:
        return drawn[source] if isinstance(source, Scene) else source

    inputs = {at: tuple(map(picture, task.inputs[at])) for at in requests}
    made = {at: _made(operator, task, inputs[at], at) for at in requests}
    found: list[Candidate] = []

    def add(at: int, kind: str, image: Image.Image, truth: dict[str, float]) -> None:
        found.append(Candidate(at, kind, made[at](image), truth))

    for at in requests:
        wanted = task.wanted[at]
        add(at, "truth", drawn[task.twins[at]], truth_of(wanted, wanted))
        for name, scene in wrong[at]:
            add(at, "wrong", drawn[scene], truth_of(name, wanted))
        first = task.inputs[at][0]
        if isinstance(first, Scene) and len(wanted.things) == 1:
            add(at, "input", drawn[first], truth_of(_named(first), wanted))
        add(at, "noise", _noise(at, drawn[task.twins[at]].size), dict.fromkeys(_PARTS, 0.0))
    slots = OPERATORS[operator].inputs
    for kind, embeddings in _embeddings(operator, task, inputs, drawn, engine, progress).items():
        shown = engine.render(embeddings, seeds=(0,), progress=progress)
        for at, image, answers in zip(requests, shown, see(judge, shown), strict=True):
            wanted = task.wanted[at]
            add(at, kind, image, truth_of(name_seen(answers, wanted, slots), wanted))
    return found


_PARTS = ("object", "material", "thing", "background", "adjective", "whole")


def _wrong(task: Task, at: int) -> list[tuple[Shown, Scene]]:
    """Pick wrong answers from the gallery: nearly right ones, and one at random."""
    rng = random.Random(f"wrong/{at}")
    wanted = task.wanted[at]
    others = [(name, scene) for name, scene in task.gallery if name != wanted]
    rng.shuffle(others)
    near = sorted(others, key=lambda one: -truth_of(one[0], wanted)["whole"])
    return [*_varied(near, wanted), others[0]]


def _varied(near: Sequence[tuple[Shown, Scene]], wanted: Shown) -> list[tuple[Shown, Scene]]:
    """Pick the nearest that are wrong in different parts."""
    seen: dict[tuple[float, ...], tuple[Shown, Scene]] = {}
    for name, scene in near:
        seen.setdefault(tuple(truth_of(name, wanted).values()), (name, scene))
        if len(seen) == WRONG:
            break
    return list(seen.values())


def _named(scene: Scene) -> Shown:
    """Name a scene of one thing, which has no adjective."""
    (item,) = scene.items
    return Shown(frozenset({(item.shape, item.material)}), scene.background)


def _scenes(task: Task, wrong: Mapping[int, Sequence[tuple[Shown, Scene]]]) -> list[Scene]:
    given = [one for at in wrong for one in task.inputs[at] if isinstance(one, Scene)]
    twins = [task.twins[at] for at in wrong]
    return [*given, *twins, *(scene for some in wrong.values() for _, scene in some)]


def _draw(scenes: Sequence[Scene], size: int) -> dict[Scene, Image.Image]:
    distinct = list(dict.fromkeys(scenes))
    drawn: dict[Scene, Image.Image] = {}
    for start in range(0, len(distinct), CHUNK):
        some = distinct[start : start + CHUNK]
        pictures = render(some, size).pictures
        drawn |= {s: Image.fromarray(p.numpy()) for s, p in zip(some, pictures, strict=True)}
    return drawn


def _noise(at: int, size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(at).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _gauss(at: int, row: torch.Tensor) -> torch.Tensor:
    """Draw the noise of a request, whichever others are made with it."""
    return torch.randn(row.shape, generator=torch.Generator().manual_seed(at))


def _made(
    operator: str, task: Task, inputs: Sequence[Image.Image | None], at: int
) -> Callable[[Image.Image], Made]:
    """Give what makes a measured picture of an answer to a request."""
    slots = OPERATORS[operator].inputs
    given = {s: image for s, image in zip(slots, inputs, strict=False) if image is not None}
    words = _words(operator, task, at, list(given))
    text = task.texts[at] if task.texts else None
    looks = tuple(MATERIAL_WORDS.values())
    return lambda image: Made(image, given, words, text, looks)


def _words(operator: str, task: Task, at: int, slots: Sequence[str]) -> dict[str, str]:
    """Say what the inputs show, as a protocol would."""
    wanted = task.wanted[at]
    if len(slots) == 2 and len(wanted.things) == 2 and slots[0] == "first":
        first, second = task.inputs[at]
        assert isinstance(first, Scene) and isinstance(second, Scene)
        return {"first": first.items[0].shape, "second": second.items[0].shape}
    shapes = sorted(wanted.things)
    known = {
        "object": shapes[0][0],
        "texture": shapes[0][1],
        "background": wanted.background,
    }
    return {slot: known.get(slot, slot.replace("-", " ")) for slot in slots}


def _embeddings(
    operator: str,
    task: Task,
    given: Mapping[int, tuple[Image.Image | None, ...]],
    drawn: dict[Scene, Image.Image],
    engine: Engine,
    progress: Progress | None,
) -> dict[str, Embeddings]:
    """Make embeddings to render: of the operator, the mean, the truth, and the truth with noise."""
    inputs = list(given.values())
    texts = [task.texts[at] for at in given] if task.texts else None
    seeds = [(at,) for at in given]  # each its own, so that no noise is shared by all
    made = engine.apply(operator, inputs, text=texts, seeds=seeds, progress=progress)
    true = engine.encode([drawn[task.twins[at]] for at in given])
    rows = true.image_embeds
    noised = torch.stack(
        [row + NOISE * row.std() * _gauss(at, row) for at, row in zip(given, rows, strict=True)]
    )
    name = engine.stack.name
    return {
        "operator": made,
        "mean": Embeddings(mean_embeddings(inputs, texts, engine), name),
        "redrawn": true,
        "noised": Embeddings(noised, name),
    }
