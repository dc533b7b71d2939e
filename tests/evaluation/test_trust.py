"""The check of metrics: how right pictures are, and whether metrics rank them so."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pops.cli import main as cli
from pops.errors import InputError
from pops.evaluation.metrics.base import Made, Measuring, Metric
from pops.evaluation.metrics.table import METRICS
from pops.evaluation.pocket.shown import Shown, alone
from pops.evaluation.trust import check
from pops.evaluation.trust.candidates import make_task
from pops.evaluation.trust.check import rows_folder
from pops.evaluation.trust.ranks import (
    CheckedRequest,
    Finding,
    MeasuredPicture,
    find_trust,
    rank_correlation,
)
from pops.evaluation.trust.truth import claimed, name_seen, truth_of
from pops.evaluation.trust.write import trust_table, write_page

SURE = pytest.approx((1.0, 1.0, 1.0))


def test_how_right_a_picture_is_is_said_part_by_part() -> None:
    wanted = alone("mug", "wood", "beach")
    assert truth_of(wanted, wanted)["whole"] == 1.0
    near = truth_of(alone("mug", "gold", "beach"), wanted)
    assert (near["object"], near["material"], near["thing"], near["background"]) == (1, 0, 0, 1)
    assert near["whole"] == pytest.approx(2 / 3)
    pair = Shown(frozenset({("mug", "wood"), ("car", "gold")}), "studio")
    swapped = Shown(frozenset({("mug", "gold"), ("car", "wood")}), "studio")
    found = truth_of(swapped, pair)
    assert (found["object"], found["material"], found["thing"], found["whole"]) == (1, 1, 0, 0)
    asked = alone("mug", "wood", "studio", "tiny")
    assert truth_of(alone("mug", "wood", "studio"), asked)["whole"] == pytest.approx(3 / 4)


def test_the_classifiers_answers_are_named_as_pictures_are() -> None:
    answers = {"object": "mug", "material": "wood", "object_b": "car", "material_b": None}
    answers |= {"background": "beach", "adjective": "tiny", "worn hat": "red", "worn bag": None}
    one = alone("mug", "wood", "beach")
    assert name_seen(answers, one, ("object",)) == alone("mug", "wood", "beach", "tiny")
    two = Shown(frozenset({("mug", "wood"), ("car", "gold")}), "studio")
    seen = name_seen(answers, two, ("first", "second")).things
    assert seen == {("mug", "wood"), ("car", "None")}
    worn = Shown(frozenset({("hat", "red"), ("bag", "gold")}), "studio")
    assert name_seen(answers, worn, ("hat", "bag")).things == {("hat", "red")}


def test_every_metric_claims_a_part_of_the_truth() -> None:
    parts = truth_of(alone("mug", "wood", "beach"), alone("mug", "wood", "beach"))
    assert {claimed(name) for name in METRICS} <= parts.keys()
    assert claimed("texture_gram") == "material" and claimed("garments_found") == "object"


class _Told(Metric):
    """A metric of which the numbers are known."""

    stages = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.title = name

    def __call__(self, made: Made) -> Measuring:
        yield from ()
        return None


def _findings(of: Callable[[str, float], float | None], count: int = 20) -> Finding:
    kinds = {"truth": 1.0, "wrong": 0.5, "input": 0.25, "noise": 0.0}
    kinds |= {"mean": 0.5, "operator": 0.9, "redrawn": 0.95}
    requests = [
        CheckedRequest(
            at,
            "union",
            [
                MeasuredPicture(
                    kind, {"object": truth, "whole": truth}, {"object_x": of(kind, truth)}
                )
                for kind, truth in kinds.items()
            ],
        )
        for at in range(count)
    ]
    (found,) = find_trust("union", requests, [_Told("object_x")])
    return found


def test_a_metric_that_ranks_as_the_truth_does_is_trusted() -> None:
    found = _findings(lambda kind, truth: truth**3)
    assert found.drawn == SURE and found.whole == SURE and found.rendered == SURE
    assert found.above_mean is not None and found.above_mean[0] == 1.0 and found.requests == 20
    assert found.redrawn_above_mean is not None and found.redrawn_above_mean[0] == 1.0
    assert found.trusted == "yes"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), min_size=2, max_size=9))
def test_a_rank_correlation_is_pairs_ranked_rightly_less_pairs_ranked_wrongly(
    pictures: list[tuple[int, int]],
) -> None:
    right = wrong = compared = 0
    for (truth, value), (other_truth, other_value) in combinations(pictures, 2):
        if truth != other_truth:
            compared += 1
            order = (truth - other_truth) * (value - other_value)
            right, wrong = right + (order > 0), wrong + (order < 0)
    truths, values = zip(*pictures, strict=True)
    found = rank_correlation(truths, values)
    if not compared:
        assert found is None
        return
    assert found == pytest.approx((right - wrong) / compared)


def test_pictures_that_are_equally_right_keep_no_metric_from_a_correlation_of_one() -> None:
    truth, values = [1, 1, 1, 0, 0], [0.9, 0.8, 0.7, 0.2, 0.1]
    assert rank_correlation(truth, values) == 1.0
    assert rank_correlation(truth, values[::-1]) == pytest.approx(-1.0)
    assert rank_correlation(truth, [0.9, 0.8, 0.7, 0.2, float("-inf")]) == 1.0


@pytest.mark.parametrize("operator", ["texturing", "scene", "instruct"])
def test_requests_are_drawn_from_all_objects(operator: str) -> None:
    """The first requests of the benchmark show few objects, and one of instruct a single one."""
    task = make_task(operator, 40, 16)
    assert len(task.wanted) == 40
    shapes = {shape for wanted in task.wanted for shape, _ in wanted.things}
    assert len(shapes) > 9
    again = make_task(operator, 40, 16)
    assert again.wanted == task.wanted and again.twins == task.twins


def test_what_is_measured_with_other_settings_has_another_folder(tmp_path: Path) -> None:
    settings = {"stack": "pocket", "weights": {"prior": "a"}, "requests": 40}
    folder = rows_folder(tmp_path, settings, ())
    assert folder == rows_folder(tmp_path, dict(reversed(settings.items())), ())
    others = [{**settings, "weights": {"prior": "b"}}, {**settings, "requests": 41}]
    assert len({folder, *(rows_folder(tmp_path, one, ()) for one in others)}) == 3
    assert rows_folder(tmp_path, settings, ("lost",)) != folder


def test_a_metric_that_likes_the_mean_is_not_trusted() -> None:
    found = _findings(lambda kind, truth: 2.0 if kind == "mean" else truth)
    assert found.drawn == (1.0, 1.0, 1.0) and found.above_mean == (
        0.0,
        0.0,
        pytest.approx(0.161, abs=1e-3),
    )
    assert found.trusted == "no" and found.failing == ("mean",)
    assert "| **no**: mean |" in trust_table([found])


def test_a_metric_that_gives_the_same_to_all_or_nothing_is_not_trusted() -> None:
    assert _findings(lambda kind, truth: 1.0).drawn == (0.0, 0.0, 0.0)
    nothing = _findings(lambda kind, truth: None)
    assert (
        nothing.above_mean is not None and nothing.above_mean[0] == 0.0 and nothing.trusted == "no"
    )


def test_too_few_requests_leave_it_open() -> None:
    sure, wide = (0.9, 0.5, 1.0), (0.6, 0.3, 0.9)
    asked = {"rendered": None, "whole": None, "redrawn_above_mean": None, "requests": 5}
    assert Finding("union", "x", "whole", sure, above_mean=wide, **asked).trusted == "open"
    assert Finding("union", "x", "whole", None, above_mean=sure, **asked).trusted == "open"
    assert (
        Finding("union", "x", "whole", wide, above_mean=(0.9, 0.6, 1.0), **asked).trusted == "yes"
    )


def test_of_fewer_than_five_requests_nothing_is_said() -> None:
    found = _findings(lambda kind, truth: -truth, count=4)
    assert found.above_mean is None and found.drawn is None and found.trusted == "open"
    found = _findings(lambda kind, truth: -truth, count=5)
    assert found.trusted == "no" and found.failing == ("claim", "mean")


def test_a_picture_without_a_number_ranks_last() -> None:
    found = _findings(lambda kind, truth: None if kind == "noise" else truth)
    assert found.drawn == SURE


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    found = [_findings(lambda kind, truth: truth)]
    settings = {
        "requests": 20,
        "stack": "pocket",
        "weights": {"prior": "0123"},
        "models": {"clip": {"name": "a", "revision": "b"}},
    }
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- metrics: begin -->\nold\n<!-- metrics: end -->\nbelow\n")
    for _ in range(2):
        write_page(page, found, settings)
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text
    assert text.count("| union | object_x |") == 1 and "a@b" in text
    assert "Of 1 metrics 1 can be trusted, 0 cannot, and 0 are open" in text
    assert trust_table(found) in text
    page.write_text("no marks")
    with pytest.raises(InputError, match="has no place for the table"):
        write_page(page, found, settings)


@pytest.mark.slow
def test_the_check_runs_whole_and_goes_on_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "AT_ONCE", 1)  # a request at a time, so that a kill finds some done
    wanted = "object_clip,object_edges,lost,garments_found"
    arguments = ["eval", "metrics", "--count=2", f"--metrics={wanted}", "--device=cpu"]
    alone = [f"--rows={tmp_path / 'one'}", f"--out={tmp_path / 'alone'}"]
    assert cli.main([*arguments, *alone]) == 0
    found = json.loads((tmp_path / "alone" / "metrics.json").read_text())
    asked = {(one["operator"], one["metric"]) for one in found["findings"]}
    assert {
        ("texturing", "object_edges"),
        ("union", "lost"),
        ("clothes", "garments_found"),
    } <= asked
    assert {"pops", "torch"} <= found["versions"].keys() and found["settings"]["requests"] == 2
    with Image.open(tmp_path / "alone" / "metrics.png") as figure:
        assert figure.width > 100
    (rows,) = (tmp_path / "one").glob("*/rows.jsonl")
    lines = rows.read_bytes().splitlines(keepends=True)
    rows.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # as a killed run leaves it
    assert cli.main([*arguments, alone[0], f"--out={tmp_path / 'again'}"]) == 0
    assert rows.read_bytes().startswith(b"".join(lines[:3]))
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again == found
