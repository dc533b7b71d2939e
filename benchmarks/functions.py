"""The functions that need no training against the trained operators, on the pocket world.

python -m benchmarks.functions --json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness.command import run_benchmark
from pops.compose import algebra
from pops.engine import Engine
from pops.errors import UsageError
from pops.evaluation.pocket.cases import Case, open_cases, retrieve
from pops.evaluation.pocket.judged import judge_pictures
from pops.evaluation.pocket.run import TASKS
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Asking
from pops.io.embeddings import Embeddings
from pops.pocket.judge import load_judge
from pops.pocket.world.scene import Scene
from pops.pocket.world.vocabulary import BACKGROUND_WORDS, MATERIAL_WORDS
from pops.settings.fields import AMOUNT, Range, Settings, setting
from pops.stacks.stack import Stack

__all__ = ["FunctionsBenchmark", "Report", "Row", "main", "measure"]

SEED = 18
OPERATORS = ("texturing", "scene", "union")
STRENGTHS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
GUIDANCES = (1.0, 2.0, 4.0, 8.0)
Way = Callable[[Stack, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class FunctionsBenchmark(Settings):
    """Compare the functions that need no training with the operators, on held-out requests.

    Every way answers the same requests, drawn at random from those of the pocket benchmark, and its
    embedding is looked up in the benchmark's gallery. The strengths of texturing stand below, and
    beside them scales of guidance. It takes about ten minutes on two cores, most of it to draw the
    galleries.
    """

    limit: int = setting(200, "requests of each operator", within=AMOUNT)
    pictures: int = setting(
        0, "results of each strength that are rendered and judged", within=Range(0, 10**9)
    )
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.functions --json",
        "python -m benchmarks.functions --limit 50 --pictures 24",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures > self.limit:
            raise UsageError("--pictures is no more than --limit")


@dataclass(frozen=True)
class Row:
    """How one way answers the requests of one operator.

    Args:
        name: the way.
        top1: the share of requests whose nearest picture is the right one.
        top5: the share with the right one among the nearest five.
        things: the share whose nearest picture shows the right objects.
        materials: the share whose nearest picture has the right materials.
        background: the share whose nearest picture has the right background.
        likeness: the mean cosine to another picture of what is right.
        judged: what the judge sees in rendered results, by question.
    """

    name: str
    top1: float
    top5: float
    things: float
    materials: float
    background: float
    likeness: float
    judged: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """All rows by table: those of the operators, then strength and guidance."""

    settings: FunctionsBenchmark
    tables: Mapping[str, Sequence[Row]]

    def values(self) -> dict[str, float]:
        """Give every number by the names of its table, its row and itself.

        Returns:
            The numbers.
        """
        return {
            f"{table}/{row.name}/{measured}": value
            for table, rows in self.tables.items()
            for row in rows
            for measured, value in {**vars(row), **row.judged}.items()
            if isinstance(value, float)
        }


# What answers the requests of an operator without training, beside the operator itself.
WAYS: dict[str, dict[str, Way]] = {
    "texturing": {
        "mean(a, b)": lambda stack, a, b: algebra.take_mean(stack, a, b, 0.5),
        "slerp(a, b)": lambda stack, a, b: algebra.slerp(stack, a, b, 0.5),
        "add(a, b)": lambda stack, a, b: algebra.add(stack, a, b, 1.0),
        "swap(a, b, 'material')": lambda stack, a, b: algebra.swap(stack, a, b, "material"),
    },
    "scene": {
        "mean(a, b)": lambda stack, a, b: algebra.take_mean(stack, a, b, 0.5),
        "slerp(a, b)": lambda stack, a, b: algebra.slerp(stack, a, b, 0.5),
        "add(a, b)": lambda stack, a, b: algebra.add(stack, a, b, 1.0),
        "swap(a, b, 'background')": lambda stack, a, b: algebra.swap(stack, a, b, "background"),
    },
    "union": {
        "mean(a, b)": lambda stack, a, b: algebra.take_mean(stack, a, b, 0.5),
        "slerp(a, b)": lambda stack, a, b: algebra.slerp(stack, a, b, 0.5),
        "add(a, b)": lambda stack, a, b: algebra.add(stack, a, b, 1.0),
    },
}


def measure(settings: FunctionsBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: how much is measured.

    Returns:
        The rows of every operator, and those of strength and guidance.
    """
    engine = Engine.load("pocket", "cpu")
    asking = Asking(engine.stack.render_settings.size, limit=settings.limit, drawn=True)
    tasks = {name: TASKS[name](asking) for name in OPERATORS}
    tables: dict[str, Sequence[Row]] = {}
    for name, case in open_cases(tasks, asking.size, engine, None):
        tables[name] = _compared(name, case, engine)
        if name == "texturing":
            tables |= _strengths(case, engine, settings.pictures)
    return Report(settings, tables)


def _compared(name: str, case: Case, engine: Engine) -> list[Row]:
    """List the operator, the ways without training, and what bounds them."""
    a, b = _inputs(case, engine)
    twins = engine.encode(case.twins).image_embeds
    made = {
        name: _applied(name, a, b, engine),
        **{way: answer(engine.stack, a, b) for way, answer in WAYS[name].items()},
        **_from_texts(name, case, a, engine),
        "the first input": a,
        "another picture of it": twins,
    }
    return [_row(way, embeds, case, twins) for way, embeds in made.items()]


def _from_texts(name: str, case: Case, a: Tensor, engine: Engine) -> dict[str, Tensor]:
    """Answer as people who say in words what there is and what is wanted, of one object alone."""
    if name == "union":
        return {}
    before = [_caption(request[0]) for request in case.task.inputs]
    after = [_caption(scene) for scene in case.task.twins]
    texts = list(dict.fromkeys([*before, *after]))
    made = engine.text(texts, seeds=[SEED]).image_embeds
    start, end = (made[[texts.index(one) for one in said]] for said in (before, after))
    way = algebra.direction(engine.stack, start, end)
    return {
        "add(a, direction(text, text))": algebra.add(engine.stack, a, way, 1.0),
        "text alone, which says all": end,
    }


def _caption(scene: object) -> str:
    assert isinstance(scene, Scene)
    (item,) = scene.items
    return f"a {MATERIAL_WORDS[item.material]} {item.shape} {BACKGROUND_WORDS[scene.background]}"


def _strengths(case: Case, engine: Engine, pictures: int) -> dict[str, list[Row]]:
    """Apply texturing from none to all of it, and with less and more guidance."""
    a, b = _inputs(case, engine)
    twins = engine.encode(case.twins).image_embeds
    whole = _applied("texturing", a, b, engine)
    strong = {f"{t:g}": algebra.slerp(engine.stack, a, whole, t) for t in STRENGTHS}
    guided = {f"{scale:g}": _applied("texturing", a, b, engine, scale) for scale in GUIDANCES}
    rows = {
        "strength": [_row(name, embeds, case, twins) for name, embeds in strong.items()],
        "guidance": [_row(name, embeds, case, twins) for name, embeds in guided.items()],
    }
    if not pictures:
        return rows
    judge = load_judge(engine.stack.prior_folder.parent / "judge")
    shown = min(pictures, len(a))
    some = [at * len(a) // shown for at in range(shown)]  # spread over all objects
    wanted = [case.task.wanted[at] for at in some]
    judged = []
    for row in rows["strength"]:
        drawn = engine.render(Embeddings(strong[row.name][some]), seeds=[0])
        seen = judge_pictures(judge, case.task.checks, drawn, wanted)
        judged.append(replace(row, judged={f"judged_{name}": v for name, v in seen.items()}))
    return {**rows, "strength": judged}


def _inputs(case: Case, engine: Engine) -> tuple[Tensor, Tensor]:
    a, b = zip(*case.inputs, strict=True)
    return engine.encode(a).image_embeds, engine.encode(b).image_embeds


def _applied(
    operator: str, a: Tensor, b: Tensor, engine: Engine, guidance: float | None = None
) -> Tensor:
    requests = list(zip(a, b, strict=True))
    return engine.apply(operator, requests, seeds=[SEED], guidance=guidance).image_embeds


def _row(name: str, embeds: Tensor, case: Case, twins: Tensor) -> Row:
    found, nearest = retrieve(embeds, case.gallery, case.right)
    shown = [case.task.gallery[row][0] for row in nearest]
    pairs = list(zip(shown, case.task.wanted, strict=True))

    def share(of: Callable[[Shown], object]) -> float:
        return sum(of(seen) == of(wanted) for seen, wanted in pairs) / len(pairs)

    return Row(
        name,
        found.top1,
        found.top5,
        share(lambda shown: {shape for shape, _ in shown.things}),
        share(lambda shown: {material for _, material in shown.things}),
        share(lambda shown: shown.background),
        float(F.cosine_similarity(embeds, twins).mean()),
        {},
    )


def show(report: Report) -> str:
    """Write a report as text.

    Args:
        report: the report.

    Returns:
        A table of each operator, of strength and of guidance.
    """
    heads = ("top 1", "top 5", "object", "material", "place", "cosine")
    lines = []
    for table, rows in report.tables.items():
        more = [name.replace("_", " ") for name in rows[0].judged]
        lines.append(f"{table:32}" + "".join(f"{head:>10}" for head in (*heads, *more)))
        for row in rows:
            numbers = (row.top1, row.top5, row.things, row.materials, row.background, row.likeness)
            values = (*numbers, *row.judged.values())
            lines.append(f"  {row.name:30}" + "".join(f"{value:10.3f}" for value in values))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("functions", FunctionsBenchmark, measure, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
