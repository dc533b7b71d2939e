"""The pocket benchmark: operators on combinations that no training has seen.

For every request of a task (`single`, `several`) the operator's output embedding
should be nearest, of a gallery of pictures of all that could have been meant, to one of what was
asked for. Beside it stand chance, the mean of the inputs' embeddings, and the ceiling: another
picture of what was asked for. Of what is nearest, it also says how often single parts of it are
right, and for several things together how often one has another's material or is lost.

After rendering, a classifier that shares nothing with the encoders says what it sees.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import cpu_count

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pops.engine import Engine
from pops.errors import UsageError
from pops.evaluation.pocket import several, single
from pops.evaluation.pocket.judged import judge_pictures, kid, sharpness
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Asking, Task
from pops.io.embeddings import Embeddings
from pops.io.processes import process_pool
from pops.pocket.judge import Judge, load_judge
from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene

__all__ = ["TASKS", "Retrieval", "compare_guidance", "draw_scenes", "evaluate", "retrieve"]

# operator -> its task
TASKS: dict[str, Callable[[Asking], Task]] = {
    "texturing": single.texturing,
    "union": several.union,
    "scene": single.scene,
    "instruct": single.instruct,
    "clothes": several.clothes,
}
SEED = 18
CHUNK = 160  # scenes drawn at once
TRUE_PICTURES = 100  # of each kind, whose embeddings are rendered beside those of the operators

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


# --- one operator ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """A task with its pictures and the gallery's embeddings.

    twins and others: for every request two more pictures of what it asks for.
    """

    task: Task
    inputs: list[tuple[Image.Image | None, ...]]
    twins: list[Image.Image]
    others: list[Image.Image]
    gallery: Tensor
    right: list[list[int]]

    def first(self, count: int) -> "_Case":
        """The case of the first requests alone; galleries are as large."""
        task = replace(self.task, wanted=self.task.wanted[:count])
        return replace(self, task=task, right=self.right[:count])

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
    right = [places[name] for name in task.wanted]
    return _Case(
        task=task,
        inputs=[tuple(map(picture, request)) for request in task.inputs],
        twins=[drawn[scene] for scene in task.twins],
        others=[drawn[task.gallery[rows[0]][1]] for rows in right],
        gallery=engine.encode([drawn[scene] for _, scene in task.gallery]).image_embeds,
        right=right,
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


def _measure(
    operator: str,
    case: _Case,
    engine: Engine,
    judge: Judge | None,
    guidance: float | None,
    progress: Progress | None,
) -> dict[str, float]:
    """`operator`: a name, or an operator folder. Pictures are rendered for the judge alone."""
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
        **(_rendered(case, made, engine, judge, progress) if judge else {}),
    }


def _rendered(
    case: _Case, made: Embeddings, engine: Engine, judge: Judge, progress: Progress | None
) -> dict[str, float]:
    """What the judge, and the encoder, see in the pictures of embeddings."""
    shown = engine.render(made, seeds=(0,), progress=progress)
    return _seen(case, shown, engine, judge)


def _seen(
    case: _Case, shown: Sequence[Image.Image], engine: Engine, judge: Judge
) -> dict[str, float]:
    """What is seen in the pictures of the first requests."""
    task = case.task
    again = case.numbers(engine.encode(shown).image_embeds)["object_and_material"]
    seen = judge_pictures(judge, task.checks, shown, task.wanted)
    return {
        **{f"rendered_{name}": share for name, share in seen.items()},
        "rendered_recognised_by_clip": again,
    }


def _beside(
    cases: Sequence[_Case], engine: Engine, judge: Judge, progress: Progress | None
) -> Report:
    """What bounds the pictures: those of true embeddings, and the judge on true pictures."""
    shown: list[Image.Image] = []
    true: list[Image.Image] = []
    others: list[Image.Image] = []
    decoder: dict[str, float] = {}
    judged: dict[str, float] = {}
    for case in cases:
        twins = case.twins[:TRUE_PICTURES]
        drawn = engine.render(engine.encode(twins), seeds=(0,), progress=progress)
        decoder = {**_seen(case.first(len(twins)), drawn, engine, judge), **decoder}
        own = judge_pictures(judge, case.task.checks, case.twins, case.task.wanted)
        judged |= {f"true_{name}": share for name, share in own.items()}
        shown, true, others = shown + drawn, true + twins, others + case.others[: len(twins)]
    decoder |= {
        "sharpness": sharpness(shown, true),
        "kid": kid(judge, shown, true),
        "kid_true": kid(judge, others, true),
    }
    return {"decoder": decoder, "judge": judged}


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

    Returns `{operator: {...}, ..., "decoder": {...}, "judge": {...}}`. Every figure is a share of
    the requests but `mean_rank`, a place in the gallery, and the decoder's `sharpness`, `kid` and
    `kid_true`. `limit` takes that many requests of each.

    `weights`: operator folders to measure in place of the stack's own, on the same pictures; the
    report is by folder then, and nothing is rendered.

    Raises:
        UsageError: an operator that this benchmark does not know.
        WeightsError: a folder is no operator of the pocket stack.
    """
    every = _known(operator)
    engine = engine or Engine.load("pocket")
    places = _by_operator(engine, weights)
    if not places:
        judge = judge or load_judge(engine.stack.prior_folder.parent / "judge")
    wanted = [name for name in every if name in places or not places]
    asking = Asking(engine.stack.render_settings.size, limit=limit)
    report: Report = {}
    kinds: dict[tuple[str, ...], _Case] = {}
    for name, case in _cases(wanted, asking, engine, progress):
        kinds.setdefault(tuple(case.task.checks), case)
        for place in places.get(name, [name]):
            own = None if places else judge
            report[place] = _measure(place, case, engine, own, guidance, progress)
    if judge and not places:
        report |= _beside(list(kinds.values()), engine, judge, progress)
    return report


def compare_guidance(
    operator: str,
    guidances: Sequence[float],
    *,
    engine: Engine,
    progress: Progress | None = None,
    limit: int | None = None,
) -> dict[float, dict[str, float]]:
    """Measure an operator at several strengths of guidance, on the validation split.

    Its requests are neither trained on nor those that `evaluate` reports.

    Args:
        operator: Its name, or an operator folder.
        guidances: The strengths.
        engine: The engine of the stack.
        progress: Told how far it is.
        limit: So many requests at most.

    Returns:
        For every strength what `evaluate` says of an operator; nothing is rendered.
    """
    (name,) = _by_operator(engine, [operator]) if operator not in TASKS else (operator,)
    asking = Asking(engine.stack.render_settings.size, "validation", limit)
    ((_, case),) = _cases([name], asking, engine, progress)
    return {g: _measure(operator, case, engine, None, g, progress) for g in guidances}


def _cases(
    names: Iterable[str], asking: Asking, engine: Engine, progress: Progress | None
) -> Iterator[tuple[str, _Case]]:
    """The cases of operators, whose pictures are drawn together."""
    tasks = {name: TASKS[name](asking) for name in names}
    scenes = (scene for task in tasks.values() for scene in _scenes(task))
    drawn = draw_scenes(scenes, asking.size, progress)
    for name, task in tasks.items():
        yield name, _case(task, drawn, engine)


def _known(operator: str) -> list[str]:
    if operator != "all" and operator not in TASKS:
        raise UsageError(
            f"no pocket benchmark of {operator!r}: there is one of {', '.join(TASKS)}, and all"
        )
    return [operator] if operator in TASKS else list(TASKS)


def _by_operator(engine: Engine, weights: Sequence[str]) -> dict[str, list[str]]:
    """Operator folders by the operator that they hold."""
    found: dict[str, list[str]] = {}
    for place in weights:
        name = engine.stack.operator_row(place).name
        if name not in TASKS:
            raise UsageError(f"{place} holds {name}, of which there is no pocket benchmark")
        found.setdefault(name, []).append(place)
    return found
