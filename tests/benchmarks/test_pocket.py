"""The benchmarks on the pocket world, with few small pictures: they end, and their numbers fit."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from PIL import Image

from benchmarks import functions, search
from pops.evaluation.pocket import cases
from pops.evaluation.pocket.run import TASKS
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Asking, Task
from pops.pocket.world.render import render
from pops.pocket.world.scene import Scene

SIDE = 16
MORE = 4  # pictures of a gallery beside those that are right


def draw(scenes: Iterable[Scene], size: int, progress: object) -> dict[Scene, Image.Image]:
    """The pictures of scenes, small, and in this process."""
    distinct = list(dict.fromkeys(scenes))
    pictures = render(distinct, SIDE).pictures
    return {s: Image.fromarray(p.numpy()) for s, p in zip(distinct, pictures, strict=True)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures, and galleries of few."""

    def cut(make: Callable[[Asking], Task]) -> Callable[[Asking], Task]:
        def made(asking: Asking) -> Task:
            task = make(asking)
            right = [entry for entry in task.gallery if entry[0] in task.wanted]
            others = [entry for entry in task.gallery if entry[0] not in task.wanted]
            return replace(task, gallery=right + others[:MORE])

        return made

    tasks = {name: cut(make) for name, make in TASKS.items()}
    for module in (functions, search):
        monkeypatch.setattr(module, "TASKS", tasks)
    for module in (cases, search):
        monkeypatch.setattr(module, "draw_scenes", draw)


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    values: dict[str, float] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return values


def asked_for(requests: int) -> set[Shown]:
    """The drawn requests of all operators, of which texturing and scene may share some."""
    asking = Asking(SIDE, limit=requests, drawn=True)
    return {shown for make in TASKS.values() for shown in make(asking).wanted}


def test_requests_of_a_benchmark_are_of_many_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    asked: list[Task] = []

    def made(asking: Asking) -> Task:
        asked.append(TASKS["texturing"](asking))
        raise Stop

    for module in (functions, search):
        monkeypatch.setattr(module, "TASKS", dict.fromkeys(TASKS, made))
    with pytest.raises(Stop):
        search.measure(search.SearchBenchmark(requests=24))
    with pytest.raises(Stop):
        functions.measure(functions.FunctionsBenchmark(limit=24))
    for task in asked:
        assert len({shape for shown in task.wanted for shape, _ in shown.things}) > 6


@pytest.mark.parametrize("pictures", [1, 9])
def test_what_is_asked_for_is_looked_for_among_others(
    pictures: int, capsys: pytest.CaptureFixture[str]
):
    assert search.main(["--requests=1", f"--pictures={pictures}", "--json"]) == 0
    values = last_line(capsys)
    assert values["pictures"] == max(pictures, len(asked_for(1)))
    for name in TASKS:
        firsts = [values[f"{name}_operator_first_{k}"] for k in search.FIRST]
        assert firsts == sorted(firsts) and firsts[-1] == 1  # among the first 12 of nine
        assert f"{name}_input 1_first_1" in values


def test_lancedb_is_compared_with_what_is_exact(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("lancedb")
    flags = ["--requests=1", "--pictures=9", "--rows=300", "--json"]
    assert search.main(flags) == 0
    values = last_line(capsys)
    assert values["compared_rows"] == 300
    shares = [values[f"lance_{share:.0%}_recall".replace("%", "_percent")] for share in (0.02, 0.3)]
    assert 0 <= shares[0] <= shares[1] <= 1 and shares[1] > 0
    assert values["exact_seconds_a_query"] > 0


def test_functions_and_operators_answer_the_same_requests(capsys: pytest.CaptureFixture[str]):
    assert functions.main(["--limit=1", "--pictures=1", "--json"]) == 0
    values = last_line(capsys)
    for operator, ways in functions.WAYS.items():
        for way in (operator, *ways, "the first input"):
            assert 0 <= values[f"{operator}/{way}/top1"] <= values[f"{operator}/{way}/top5"] <= 1
        assert values[f"{operator}/another picture of it/likeness"] == pytest.approx(1)
    assert values["strength/0/likeness"] != values["strength/1/likeness"]
    assert any("judged" in name for name in values)
    assert values["guidance/8/top1"] == values["texturing/texturing/top1"]
