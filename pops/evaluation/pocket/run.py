"""The pocket benchmark: operators on combinations that no training has seen.

For every request of a task (`single`, `several`) the operator's output embedding
should be nearest, of a gallery of pictures of all that could have been meant, to one of what was
asked for. Beside it stand chance, the mean of the inputs' embeddings, and the ceiling: another
picture of what was asked for. Of what is nearest, it also says how often single parts of it are
right, and for several things together how often one has another's material or is lost.

After rendering, a classifier that shares nothing with the encoders says what it sees.
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from pops.engine import Engine
from pops.errors import UsageError
from pops.evaluation.pocket import several, single
from pops.evaluation.pocket.cases import Case, Progress, open_cases
from pops.evaluation.pocket.judged import judge_pictures, kid, sharpness
from pops.evaluation.pocket.task import Asking, Task
from pops.io.embeddings import Embeddings
from pops.pocket.judge import Judge, load_judge

__all__ = ["SEED", "TASKS", "compare_guidance", "evaluate", "mean_embeddings"]

# operator -> its task
TASKS: dict[str, Callable[[Asking], Task]] = {
    "texturing": single.texturing,
    "union": several.union,
    "scene": single.scene,
    "instruct": single.instruct,
    "clothes": several.clothes,
}
SEED = 18
TRUE_PICTURES = 100  # of each kind, whose embeddings are rendered beside those of the operators

Report = dict[str, dict[str, float]]


def mean_embeddings(
    inputs: Sequence[Sequence[Image.Image | None]], texts: Sequence[str] | None, engine: Engine
) -> Tensor:
    """Take the mean embedding of what each request gives, a text included.

    Args:
        inputs: the pictures of each request, None for what is left out.
        texts: the text of each; None where there are none.
        engine: what encodes them.

    Returns:
        Embeddings (Q, D).
    """
    flat = [p for request in inputs for p in request if p is not None]
    embeds = iter(engine.encode(flat).image_embeds)
    given = [[next(embeds) for p in request if p is not None] for request in inputs]
    if texts is not None:
        words = engine.stack.text_encoder.encode(texts)
        given = [[*own, word.text_embeds] for own, word in zip(given, words, strict=True)]
    return torch.stack([torch.stack(own).mean(0) for own in given])


def _measure(
    operator: str,
    case: Case,
    engine: Engine,
    judge: Judge | None,
    guidance: float | None,
    progress: Progress | None,
) -> dict[str, float]:
    """Measure an operator, given by name or folder. Pictures are rendered for the judge alone."""
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
    mean = mean_embeddings(case.inputs, task.texts, engine)
    return {
        "requests": len(case.inputs),
        **case.numbers(made.image_embeds),
        **{f"ceiling_{k}": v for k, v in case.numbers(true.image_embeds).items()},
        **{f"mean_{k}": v for k, v in case.numbers(mean).items()},
        "chance": sum(map(len, case.right)) / len(case.right) / len(task.gallery),
        **(_rendered(case, made, engine, judge, progress) if judge else {}),
    }


def _rendered(
    case: Case, made: Embeddings, engine: Engine, judge: Judge, progress: Progress | None
) -> dict[str, float]:
    """Render embeddings, and tell what the judge and the encoder see in the pictures."""
    shown = engine.render(made, seeds=(0,), progress=progress)
    return _seen(case, shown, engine, judge)


def _seen(
    case: Case, shown: Sequence[Image.Image], engine: Engine, judge: Judge
) -> dict[str, float]:
    """Tell what the judge and the encoder see in pictures for the first requests."""
    task = case.task
    again = case.numbers(engine.encode(shown).image_embeds)["object_and_material"]
    seen = judge_pictures(judge, task.checks, shown, task.wanted)
    return {
        **{f"rendered_{name}": share for name, share in seen.items()},
        "rendered_recognised_by_clip": again,
    }


def _beside(
    cases: Sequence[Case], engine: Engine, judge: Judge, progress: Progress | None
) -> Report:
    """Measure what bounds the pictures: those of true embeddings, and the judge on true ones."""
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
    """Measure an operator of the pocket stack, or all, on combinations that are new to them.

    Args:
        operator: the name of an operator, or "all".
        engine: the engine of a stack of the pocket world; None loads the pocket stack.
        judge: the judge of rendered pictures; None loads that of the stack.
        progress: called with the name of the work, what is done, and all that is to be done.
        guidance: the scale of guidance; None stands for each operator's own.
        limit: so many requests of each operator at most.
        weights: operator folders to measure in place of the stack's own, on the same pictures; the
            report is by folder then, and nothing is rendered.

    Returns:
        `{operator: {...}, ..., "decoder": {...}, "judge": {...}}`. Every number is a share of the
        requests but `mean_rank`, a place in the gallery, and the decoder's `sharpness`, `kid` and
        `kid_true`.

    Raises:
        UsageError: an operator that this benchmark does not know.
        WeightsError: a folder is not an operator of the pocket stack.
    """
    every = _known(operator)
    engine = engine or Engine.load("pocket")
    places = _by_operator(engine, weights)
    if not places:
        judge = judge or load_judge(engine.stack.prior_folder.parent / "judge")
    wanted = [name for name in every if name in places or not places]
    asking = Asking(engine.stack.render_settings.size, limit=limit)
    tasks = {name: TASKS[name](asking) for name in wanted}
    report: Report = {}
    kinds: dict[tuple[str, ...], Case] = {}
    for name, case in open_cases(tasks, asking.size, engine, progress):
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
    tasks = {name: TASKS[name](asking)}
    ((_, case),) = open_cases(tasks, asking.size, engine, progress)
    return {g: _measure(operator, case, engine, None, g, progress) for g in guidances}


def _known(operator: str) -> list[str]:
    if operator != "all" and operator not in TASKS:
        raise UsageError(
            f"there is no pocket benchmark of {operator!r}: name one of {', '.join(TASKS)}, or all"
        )
    return [operator] if operator in TASKS else list(TASKS)


def _by_operator(engine: Engine, weights: Sequence[str]) -> dict[str, list[str]]:
    """List operator folders by the operator that they hold."""
    found: dict[str, list[str]] = {}
    for place in weights:
        name = engine.stack.operator_row(place).name
        if name not in TASKS:
            raise UsageError(
                f"{place} holds the operator {name}, of which there is no pocket benchmark: "
                "leave it out"
            )
        found.setdefault(name, []).append(place)
    return found
