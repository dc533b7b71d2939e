"""Protocols: what they ask, how they resume, and what their reports say."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.cli import main as cli
from pops.data.cache.fingerprints import stack_digests
from pops.datagen.stages import Detection
from pops.errors import UsageError
from pops.evaluation.config import EvalInstructConfig, EvalTexturingConfig
from pops.evaluation.metrics.base import Made, Metric, measure, stages_of
from pops.evaluation.metrics.regions import gram_distance
from pops.evaluation.metrics.table import METRICS, choose_metrics
from pops.evaluation.protocols.inputs import Input
from pops.evaluation.protocols.methods import Request, mean_of, read_methods
from pops.evaluation.protocols.rows import Evaluation
from pops.evaluation.protocols.table import PROTOCOLS
from pops.evaluation.report.statistics import Estimate, compare, mean_interval, summarise, wilson
from pops.evaluation.report.tables import latex_table, markdown_table
from pops.evaluation.stages import ORDER, Look, Read, Remembering, Seen
from pops.evaluation.store import Lines, PictureLine, read_lines
from pops.io.machine.placement import Placement
from pops.operators import OPERATORS
from pops.settings.shard import Shard
from pops.stacks.spec import StackSpec
from pops.stacks.stack import Stack
from tests.evaluation import tiny

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("name", "pictures"),
    [("instruct", 10_140), ("texturing", 2_496), ("scene", 2_496), ("union", 2_496)],
)
def test_the_protocols_are_of_the_published_sizes(
    name: str, pictures: int, capsys: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli.main(["eval", name, "--stack=kandinsky-2.2", "--dry_run", f"--out={out}"]) == 0
    assert f"{pictures:,} pictures of each method" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize("limit", [30, 60, 100])
def test_a_limit_draws_from_all_inputs_and_shards_divide_the_pictures(
    limit: int, tmp_path: Path
) -> None:
    """Every so-manieth picture would show one texture alone: there are 20 of them."""
    config = EvalTexturingConfig(out=tmp_path)
    protocol = PROTOCOLS["texturing"]
    requests = protocol.requests(config)
    plan = Evaluation(requests, protocol.methods, (0, 1, 2), (), limit=limit)
    drawn = {method: set[tuple[int, int]]() for method in protocol.methods}
    for row in plan.rows:
        drawn[row.method].add((row.request, row.seed))
    own = drawn["mean"]
    assert len(own) == limit and all(one == own for one in drawn.values())
    assert {seed for _, seed in own} == {0, 1, 2}
    for slot in ("object", "texture"):
        shown = {requests[request].inputs[slot].word for request, _ in own}
        assert len(shown) > 12, f"of 20 only {sorted(shown)}"
    parts = [plan.indices(Shard(i, 4)) for i in range(4)]
    assert sorted(index for part in parts for index in part) == list(range(len(plan.rows)))


def test_a_composition_of_the_user_takes_the_inputs_by_their_slots() -> None:
    request = Request({"object": Input("mug", Path("m.png")), "texture": Input("w", Path("w.png"))})
    methods = read_methods(
        "a = mean('object', 'texture', 0.3); b = texturing('texture', _)",
        ("object", "texture"),
        OPERATORS,
    )
    assert [str(method(request)) for method in methods.values()] == [
        "mean('m.png', 'w.png', 0.3)",
        "texturing('w.png', _)",
    ]
    said = Request({"object": Input("mug", Path("m.png"))}, "shiny")
    (told,) = read_methods("c = instruct('object', 'text')", ("object",), OPERATORS).values()
    assert str(told(said)) == "instruct('m.png', 'shiny')"
    with pytest.raises(UsageError, match="objekt"):
        read_methods("a = mean('objekt', 'texture')", ("object", "texture"), OPERATORS)


def test_the_mean_of_several_inputs_weighs_them_alike() -> None:
    request = Request({slot: Input(slot, Path(f"{slot}.png")) for slot in ("hat", "bag", "scarf")})
    assert str(mean_of(request)) == "mix('hat.png', 'bag.png', 'scarf.png')"


# --- metrics --------------------------------------------------------------------------------


class _Answers:
    """Answers every stage with numbers that depend on what is asked alone."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, requests):  # type: ignore[no-untyped-def]
        (stage,) = {request.stage for request in requests}
        self.asked.append(stage)
        return [self._answer(stage, request) for request in requests]

    def _answer(self, stage, request):  # type: ignore[no-untyped-def]
        unit = np.array([0.6, 0.8])
        return {
            "clip": unit,
            "features": Seen(unit, np.eye(2)),
            "detect": Detection((4, 4, 24, 24), 0.9),
            "depth": np.arange(9.0).reshape(3, 3),
            "caption": "a mug",
            "sentence": unit,
            "judge": {"object": 4, "texture": None, "text": 2},
        }[stage]


MADE = Made(
    Image.linear_gradient("L").convert("RGB").resize((32, 32)),
    {
        slot: Image.radial_gradient("L").convert("RGB").resize((32, 32))
        for slot in ("object", "texture", "background", "first", "second")
    },
    dict.fromkeys(("object", "texture", "background", "first", "second"), "mug"),
    "shiny",
    ("wooden", "golden"),
)


def test_all_metrics_together_ask_each_stage_once_and_in_order() -> None:
    answers = _Answers()
    metrics = list(METRICS.values())
    running = measure(metrics, MADE)
    asked = next(running)
    try:
        while True:
            asked = running.send(answers(asked))
    except StopIteration as end:
        numbers = end.value
    assert answers.asked == [stage for stage in ORDER if stage != "make"]
    assert numbers["object_clip"] == pytest.approx(1.0)
    assert (numbers["judge_object"], numbers["judge_texture"], numbers["judge_mean"]) == (
        4,
        None,
        3,
    )
    assert numbers["lost"] == 0.0 and numbers["leak"] is None  # both look alike
    assert set(numbers) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_asks_the_stages_that_it_names_alone(name: str) -> None:
    metric, answers = METRICS[name], _Answers()
    running = metric(MADE)
    try:
        asked = next(running)
        while True:
            asked = running.send(answers(asked))
    except StopIteration:
        pass
    assert tuple(answers.asked) == metric.stages == stages_of([metric])


def test_a_metric_without_a_model_is_left_out_or_refused_where_it_was_asked_for() -> None:
    chosen, without = choose_metrics(["object_clip", "object_depth"], (), {"clip"})
    assert [metric.name for metric in chosen] == ["object_clip"]
    assert without == {"object_depth": "no model answers depth"}
    with pytest.raises(UsageError, match="--models depth="):
        choose_metrics(["object_depth"], ("object_depth",), {"clip"})


def test_gram_matrices_do_not_know_places() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(16, 5)), rng.normal(size=(9, 5)) + 3
    assert gram_distance(a, rng.permutation(a)) == pytest.approx(0.0, abs=1e-12)
    full = 1 - np.sum((a.T @ a) * (b.T @ b)) / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert gram_distance(a, b) == pytest.approx(full)


def test_a_stage_answers_an_input_once() -> None:
    seen: list[int] = []
    stage = Remembering(lambda asked: [seen.append(len(asked)), *asked][1:])
    red, again = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "red")
    first, second, text = stage([Look(red), Look(again), Read("red")])
    assert first is second and text.text == "red" and seen == [2]
    assert stage([Read("red"), Look(again)]) == [text, first] and seen == [2]


# --- numbers --------------------------------------------------------------------------------


def _lines(values: dict[str, list[float | None]]) -> list[PictureLine]:
    return [
        PictureLine(
            index=i,
            request=i // 2,
            method=method,
            seed=i % 2,
            words={},
            numbers={"x": value},
        )
        for method, own in values.items()
        for i, value in enumerate(own)
    ]


def test_intervals_are_over_requests_and_hold_the_mean() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(5, 1, 60), 2)  # both seeds of a request give the same
    (found,) = summarise(_lines({"a": list(values)}))["a"].values()
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 60**0.5, rel=0.2)
    alone = summarise(_lines({"a": [1.0, None, 1.0, 1.0]}))["a"]["x"]
    assert (alone.low, alone.high, alone.count, alone.missing) == (1.0, 1.0, 3, 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.floats(-5, 5).map(lambda x: round(x, 3))),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_the_mean_of_the_requests_and_lies_within_them(
    pictures: list[tuple[int, float]],
) -> None:
    groups, values = zip(*pictures, strict=True)
    by_group = {g: [v for h, v in pictures if h == g] for g in groups}
    means = [sum(own) / len(own) for own in by_group.values()]
    mean, low, high = mean_interval(values, groups)
    assert mean == pytest.approx(sum(means) / len(means), abs=1e-9)
    assert min(means) - 1e-9 <= low <= high <= max(means) + 1e-9
    # The numbers of requests are names, and nothing else.
    assert mean_interval(values, [g + 7 for g in groups]) == (mean, low, high)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """95% of intervals, for large numbers: of 40 requests of two seeds each a little less."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        requests = np.repeat(rng.exponential(1.0, 40), 2)
        values = requests + rng.normal(0, 0.2, 80)
        _, low, high = mean_interval(list(values), list(np.repeat(np.arange(40), 2)))
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_share_of_nothing_or_of_all_has_an_interval_too() -> None:
    lines = _lines({"a": [0.0] * 20})  # ten requests, two seeds each
    assert summarise(lines)["a"]["x"].high == 0.0  # of a distance, say
    found = summarise(lines, ["x"])["a"]["x"]
    assert (found.mean, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(wilson(0, 10)[1]) and found.high > 0.2
    assert METRICS["lost"].share and not METRICS["object_clip"].share


def test_methods_are_compared_picture_by_picture() -> None:
    lines = _lines({"operator": [1, 2, 3, 4], "mean": [0.5, 1.5, None, 3.5]})
    found = compare(lines, "operator")["mean"]["x"]
    assert (found.mean, found.low, found.high, found.count) == (0.5, 0.5, 0.5, 3)


def test_the_wilson_interval_is_the_published_one() -> None:
    low, high = wilson(8, 10)  # Wilson 1927; by hand
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_tables_mark_the_best_and_escape_names() -> None:
    summary = {
        "op_1": {"lost": Estimate(0.1, 0.05, 0.2, 9)},
        "mean": {"lost": Estimate(0.4, 0.3, 0.5, 9)},
    }
    metrics: list[Metric] = [METRICS["lost"]]
    assert "**0.100 [0.050, 0.200]**" in markdown_table(summary, metrics)
    assert r"a\|b" in markdown_table({"a|b": summary["mean"]}, metrics)
    table = latex_table(summary, metrics)
    assert r"op\_1 & \textbf{0.100}" in table and r"lost $\downarrow$" in table


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_a_table_compiles_whatever_methods_are_called(tmp_path: Path) -> None:
    names = ("op_1", "50% & more", "a{b}", r"back\slash", "#1 $x^2~y")
    summary = {name: {"lost": Estimate(0.1, 0.05, 0.2, 9)} for name in names}
    (tmp_path / "report.tex").write_text(latex_table(summary, [METRICS["lost"], METRICS["leak"]]))
    (tmp_path / "all.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{report}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-800:]
    assert (tmp_path / "all.pdf").stat().st_size > 1000


# --- folders --------------------------------------------------------------------------------


def _line(index: int) -> PictureLine:
    return PictureLine(index=index, request=0, method="mean", seed=0, words={}, numbers={"x": 1.0})


def test_a_killed_run_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "a", Shard(), PictureLine)
    with lines.open({"seeds": [1]}):
        lines.add(_line(3), {"mean/one.png": Image.new("RGB", (4, 4))})
    with lines.path.open("ab") as file:
        file.write(b'{"index": 4, "requ')
    with lines.open({"seeds": [1]}) as there:
        assert there == {3}
        lines.add(_line(4), {})
    assert [line.index for line in read_lines(tmp_path / "a", PictureLine)] == [3, 4]
    assert (tmp_path / "a" / "pictures" / "mean" / "one.png").is_file()
    with pytest.raises(UsageError, match="made with seeds"), lines.open({"seeds": [2]}):
        raise AssertionError


def test_weights_that_changed_are_noticed(golden: Path, tmp_path: Path) -> None:
    folders = {}
    for part in ("prior", "decoder"):
        folders[part] = shutil.copytree(golden / f"kandinsky-tiny-{part}", tmp_path / part)
    folders["operators"] = shutil.copytree(golden / "operators", tmp_path / "operators")
    spec = StackSpec("tiny", **{part: str(folder) for part, folder in folders.items()})
    stack = Stack(spec, Placement(torch.device("cpu"), torch.float32))
    before = stack_digests(stack)
    assert before.keys() == folders.keys()
    assert stack_digests(stack) == before
    weights = next(folders["operators"].rglob("*.pth"))  # as the published ones
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    after = stack_digests(stack)
    assert after.pop("operators") != before.pop("operators") and after == before
    loaded = Stack.holding("loaded", stack.placement)
    assert stack_digests(loaded) == {}


# --- whole runs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> str:
    root = tmp_path_factory.mktemp("models")
    folders = tiny.make_all(root, golden / "kandinsky-tiny-prior" / "tokenizer")
    return ",".join(f"{stage}={folder}" for stage, folder in folders.items())


FEW = ["--limit=2", "--seeds=0,1", "--steps=2", "--render_steps=2", "--device=cpu"]


def run(name: str, out: Path, *more: str) -> dict[str, object]:
    assert cli.main(["eval", name, f"--out={out}", *FEW, *more]) == 0
    found: dict[str, object] = json.loads((out / "report.json").read_text())
    return found


@pytest.mark.parametrize("name", ["instruct", "scene", "union", "clothes"])
def test_a_protocol_runs_whole_on_tiny_models_of_the_real_classes(
    name: str, models: str, tmp_path: Path
) -> None:
    methods = "operator" if name == "instruct" else "operator,mean"
    report = run(name, tmp_path, f"--models={models}", f"--methods={methods}")
    wanted = {m for m in PROTOCOLS[name].metrics if not m.startswith("judge")}
    assert set(report["metrics"]) == wanted  # type: ignore[call-overload]
    assert not report["left_out"]
    assert report["settings"]["models"]["make"]["name"] == "pocket"  # type: ignore[index]
    assert report["versions"].keys() >= {"pops", "torch", "transformers"}  # type: ignore[union-attr]
    with Image.open(tmp_path / "report.png") as figure:
        assert figure.width > 100
    assert not (tmp_path / "pictures").exists()


def test_shards_and_a_run_that_goes_on_give_what_one_run_gives(
    models: str, tmp_path: Path, capsys: Capture
) -> None:
    methods = [f"--models={models}", "--also=third = mean('object', 'texture', 0.3)"]
    methods += ["--methods=operator", "--keep_pictures"]
    whole = run("texturing", tmp_path / "a", *methods)
    shared = [f"--out={tmp_path / 'b'}", *FEW, *methods]
    assert cli.main(["eval", "texturing", *shared, "--shard=1/2"]) == 0
    assert "2 of others are left" in capsys.readouterr().out
    assert not (tmp_path / "b" / "report.json").exists()
    assert cli.main(["eval", "texturing", *shared, "--shard=0/2"]) == 0
    parts = json.loads((tmp_path / "b" / "report.json").read_text())
    assert parts["methods"] == whole["methods"]
    pictures = [sorted((tmp_path / run / "pictures").rglob("*.png")) for run in "ab"]
    assert len(pictures[0]) == 4
    for a, b in zip(*pictures, strict=True):  # drawn in other batches: the last bits may differ
        one, other = (np.asarray(Image.open(path)).astype(int) for path in (a, b))
        assert abs(one - other).max() <= 1


def test_words_are_drawn_once_into_the_folder(models: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("mug\nteapot\n")
    arguments = [f"--objects={tmp_path / 'words.txt'}", "--metrics=object_clip"]
    run("instruct", tmp_path / "out", *arguments, "--methods=object")
    drawn = tmp_path / "out" / "inputs" / "objects" / "teapot.png"
    before = drawn.stat().st_mtime_ns
    (tmp_path / "out" / "report.json").unlink()
    run("instruct", tmp_path / "out", *arguments, "--methods=object")  # nothing is left to do
    assert drawn.stat().st_mtime_ns == before


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="--judge takes an address"):
        EvalInstructConfig(judge="localhost")


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_what_an_unkilled_run_gives(tmp_path: Path) -> None:
    arguments = ["eval", "texturing", "--methods=mean", "--metrics=object_clip,object_edges"]
    arguments += ["--limit=12", "--seeds=0", "--batch_size=1", "--render_steps=2", "--device=cpu"]
    rows = tmp_path / "a" / "rows.jsonl"
    command = [sys.executable, "-m", "pops", *arguments, f"--out={tmp_path / 'a'}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # As many threads as here: sums in another order differ in their last digits.
    killed = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)
    while killed.poll() is None and not (rows.exists() and rows.read_bytes().count(b"\n") > 2):
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "a" / "report.json").exists()
    done = rows.read_bytes()
    for out in "ab":
        assert cli.main([*arguments, f"--out={tmp_path / out}"]) == 0
    assert rows.read_bytes().startswith(done[: done.rfind(b"\n") + 1])
    for name in ("settings.json", "report.json", "report.md", "report.tex", "report.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
