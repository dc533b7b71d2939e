"""The pocket benchmark: operators on combinations that no training has seen.

For every request of a task (`single`, `several`) the operator's output embedding
should be nearest, of a gallery of pictures of all that could have been meant, to one of what was
asked for. Beside it stand chance, the mean of the inputs' embeddings, and the ceiling: another
picture of what was asked for. Of what is nearest, it also says how often single parts of it are
right, and for several things together how often one has another's material or is lost.

After rendering, a classifier that shares nothing with the encoders says what it sees.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import cpu_count

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pops.engine import Engine
from pops.errors import UsageError
from pops.evaluation.pocket import several, single
from pops.evaluation.pocket.single import SIZE, Shown, Task
from pops.io.embeddings import Embeddings
from pops.io.processes import process_pool
from pops.pocket.judge import QUESTIONS, Judge, load_judge
from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene
from pops.stacks.stack import WEIGHTS

__all__ = ["TASKS", "Retrieval", "evaluate", "retrieve"]

# operator -> its task, of at most so many requests
TASKS: dict[str, Callable[[int | None], Task]] = {
    "texturing": single.texturing,
    "union": several.union,
    "scene": single.scene,
    "instruct": single.instruct,
    "clothes": several.clothes,
}
SEED = 18
CHUNK = 160  # scenes drawn at once

Progress = Callable[[str, int, int], None]
Report = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Retrieval:
    """How well queries find what they want in the gallery."""

    top1: float
    top5: float
    mean_rank: float  # 1 is best


def retrieve(
    queries: Tensor, gallery: Tensor, right: Sequence[Sequence[int]]
) -> tuple[Retrieval, list[int]]:
    """Ranks by cosine of queries (Q, D) among gallery (G, D), and which row is nearest to each.

    `right`: the rows that are right for each query; the best of them counts.
    """
    likeness = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T
    allowed = torch.zeros_like(likeness, dtype=torch.bool)
    for query, rows in enumerate(right):
        allowed[query, list(rows)] = True
    best = likeness.masked_fill(~allowed, -torch.inf).amax(1, keepdim=True)
    rank = ((likeness > best) & ~allowed).sum(1) + 1
    found = Retrieval(
        top1=float((rank == 1).float().mean()),
        top5=float((rank <= 5).float().mean()),
        mean_rank=float(rank.float().mean()),
    )
    return found, likeness.argmax(1).tolist()


# --- pictures -------------------------------------------------------------------------------


def _draw(scenes: Sequence[Scene]) -> Tensor:
    torch.set_num_threads(1)
    return render(scenes, SIZE).pictures


def _geometry(scene: Scene) -> str:
    return repr((scene.view, [(i.shape, i.x) for i in scene.items]))


def _pictures(scenes: Iterable[Scene], progress: Progress | None) -> dict[Scene, Image.Image]:
    """The picture of every scene, drawn by one process per core.

    Neighbours share geometry, which is traced once in each chunk.
    """
    ordered = sorted(dict.fromkeys(scenes), key=_geometry)
    chunks = [ordered[i : i + CHUNK] for i in range(0, len(ordered), CHUNK)]
    drawn: list[Image.Image] = []
    with process_pool(cpu_count() or 1, "spawn") as pool:
        for chunk in pool.map(_draw, chunks):
            drawn += [Image.fromarray(p.numpy()) for p in chunk]
            if progress:
                progress("render pictures", len(drawn), len(ordered))
    return dict(zip(ordered, drawn, strict=True))


def _scenes(task: Task) -> list[Scene]:
    given = [source for request in task.inputs for source in request if isinstance(source, Scene)]
    return [*given, *task.twins, *(scene for _, scene in task.gallery)]


# --- one operator ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """A task with its pictures and the gallery's embeddings."""

    task: Task
    inputs: list[tuple[Image.Image | None, ...]]
    twins: list[Image.Image]
    gallery: Tensor
    right: list[list[int]]

    def numbers(self, queries: Tensor) -> dict[str, float]:
        found, nearest = retrieve(queries, self.gallery, self.right)
        names = [self.task.gallery[row][0] for row in nearest]
        shares = {
            share: sum(map(says, names, self.task.wanted)) / len(names)
            for share, says in self.task.shares.items()
        }
        return {**asdict(found), **shares}


def _case(task: Task, drawn: Mapping[Scene, Image.Image], engine: Engine) -> _Case:
    def picture(source: Scene | Image.Image | None) -> Image.Image | None:
        return drawn[source] if isinstance(source, Scene) else source

    places: dict[Shown, list[int]] = {}
    for row, (name, _) in enumerate(task.gallery):
        places.setdefault(name, []).append(row)
    return _Case(
        task=task,
        inputs=[tuple(map(picture, request)) for request in task.inputs],
        twins=[drawn[scene] for scene in task.twins],
        gallery=engine.encode([drawn[scene] for _, scene in task.gallery]).image_embeds,
        right=[places[name] for name in task.wanted],
    )


def _mean(case: _Case, engine: Engine) -> Tensor:
    """The mean embedding (Q, D) of what each request gives, a text included."""
    flat = [p for request in case.inputs for p in request if p is not None]
    embeds = iter(engine.encode(flat).image_embeds)
    given = [[next(embeds) for p in request if p is not None] for request in case.inputs]
    if case.task.texts is not None:
        words = engine.stack.text_encoder.encode(case.task.texts)
        given = [[*own, word.text_embeds] for own, word in zip(given, words, strict=True)]
    return torch.stack([torch.stack(own).mean(0) for own in given])


def _judged(
    judge: Judge, pictures: Sequence[Image.Image], wanted: Sequence[Shown]
) -> dict[str, float]:
    """Share of pictures in which the judge sees the true object, material and background."""
    stacked = torch.stack(
        [torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in pictures]
    )
    pixels = stacked.reshape(-1, SIZE, SIZE, 3).permute(0, 3, 1, 2).float() / 255
    truth = [(*next(iter(name.things)), name.background) for name in wanted]
    return {
        f"rendered_{question}": sum(
            QUESTIONS[question][int(a)] == t[at] for a, t in zip(answers, truth, strict=True)
        )
        / len(truth)
        for at, (question, answers) in enumerate(judge.answer(pixels).items())
    }


def _measure(
    operator: str,
    case: _Case,
    engine: Engine,
    judge: Judge,
    guidance: float | None,
    progress: Progress | None,
    rendered: bool = True,
) -> dict[str, float]:
    """`operator`: a name, or an operator folder."""
    task = case.task
    made = engine.apply(
        operator,
        case.inputs,
        text=task.texts,
        seeds=(SEED,),
        guidance=guidance,
        progress=progress,
    )
    true = engine.encode(case.twins)
    return {
        **case.numbers(made.image_embeds),
        **{f"ceiling_{k}": v for k, v in case.numbers(true.image_embeds).items()},
        **{f"mean_{k}": v for k, v in case.numbers(_mean(case, engine)).items()},
        "chance": sum(map(len, case.right)) / len(case.right) / len(task.gallery),
        **(_rendered(case, made, engine, judge, progress) if task.judged and rendered else {}),
    }


def _rendered(
    case: _Case, made: Embeddings, engine: Engine, judge: Judge, progress: Progress | None
) -> dict[str, float]:
    """What the judge, and the encoder, see in the pictures of embeddings."""
    shown = engine.render(made, seeds=(0,), progress=progress)
    again = case.numbers(engine.encode(shown).image_embeds)["object_and_material"]
    return {**_judged(judge, shown, case.task.wanted), "rendered_recognised_by_clip": again}


def _beside(case: _Case, engine: Engine, judge: Judge, progress: Progress | None) -> Report:
    """What bounds the pictures: those of true embeddings, and the judge on true pictures."""
    own = _judged(judge, case.twins, case.task.wanted)
    return {
        "decoder": _rendered(case, engine.encode(case.twins), engine, judge, progress),
        "judge": {k.replace("rendered_", "true_"): v for k, v in own.items()},
    }


def evaluate(
    operator: str = "all",
    *,
    engine: Engine | None = None,
    judge: Judge | None = None,
    progress: Progress | None = None,
    guidance: float | None = None,
    limit: int | None = None,
    weights: Sequence[str] = (),
) -> Report:
    """Measure an operator of the pocket stack, or all, on combinations new to them.

    Returns `{operator: {...}, ..., "decoder": {...}, "judge": {...}}`; the last two where an
    operator of single objects is measured. Every figure is a share of the requests but
    `mean_rank`, a place in the gallery. `limit` takes that many requests of each.

    `weights`: operator folders to measure in place of the stack's own, on the same pictures; the
    report is by folder then, and nothing is rendered.

    Raises:
        UsageError: an operator that this benchmark does not know.
        WeightsError: a folder is no operator of the pocket stack.
    """
    if operator != "all" and operator not in TASKS:
        raise UsageError(
            f"no pocket benchmark of {operator!r}: there is one of {', '.join(TASKS)}, and all"
        )
    engine = engine or Engine.load("pocket")
    judge = judge or load_judge(WEIGHTS / "judge" / "model.safetensors")
    places = _by_operator(engine, weights)
    every = [operator] if operator in TASKS else list(TASKS)
    wanted = [name for name in every if name in places or not places]
    tasks = {name: TASKS[name](limit) for name in wanted}
    drawn = _pictures((s for task in tasks.values() for s in _scenes(task)), progress)
    report: Report = {}
    beside: Report = {}
    for name, task in tasks.items():
        case = _case(task, drawn, engine)
        for place in places.get(name, [name]):
            report[place] = _measure(place, case, engine, judge, guidance, progress, not places)
        if task.judged and not beside and not places:
            beside = _beside(case, engine, judge, progress)
    return {**report, **beside}


def _by_operator(engine: Engine, weights: Sequence[str]) -> dict[str, list[str]]:
    """Operator folders by the operator that they hold."""
    found: dict[str, list[str]] = {}
    for place in weights:
        name = engine.stack.operator_row(place).name
        if name not in TASKS:
            raise UsageError(f"{place} holds {name}, of which there is no pocket benchmark")
        found.setdefault(name, []).append(place)
    return found
