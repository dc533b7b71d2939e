"""The check of metrics: how right pictures are, and whether metrics rank them so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pops.cli import main as cli
from pops.errors import InputError
from pops.evaluation.metrics.base import Made, Measuring, Metric
from pops.evaluation.metrics.table import METRICS
from pops.evaluation.pocket.shown import Shown, alone
from pops.evaluation.trust.candidates import Candidate
from pops.evaluation.trust.check import Finding, find_trust
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
    """Gives what it is told of the truth of a picture."""

    stages = ()

    def __init__(self, name: str, of: Callable[[str, float], float | None]) -> None:
        self.name = name
        self.title = name
        self.of = of

    def __call__(self, made: Made) -> Measuring:
        yield from ()
        return None


def _findings(of: Callable[[str, float], float | None]) -> Finding:
    picture = Image.new("RGB", (4, 4))
    kinds = {"truth": 1.0, "wrong": 0.5, "input": 0.25, "noise": 0.0, "mean": 0.5, "operator": 0.9}
    candidates = [
        Candidate(at, kind, Made(picture, {}), {"object": truth, "whole": truth})
        for at in range(20)
        for kind, truth in kinds.items()
    ]
    numbers = [{"object_x": of(one.kind, one.truth["object"])} for one in candidates]
    (found,) = find_trust("union", candidates, numbers, [_Told("object_x", of)])
    return found


def test_a_metric_that_ranks_as_the_truth_does_is_trusted() -> None:
    found = _findings(lambda kind, truth: truth**3)
    assert found.drawn == SURE and found.whole == SURE and found.rendered == SURE
    assert found.above_mean is not None and found.above_mean[0] == 1.0 and found.requests == 20
    assert found.trusted == "yes"


def test_a_metric_that_likes_the_mean_is_not_trusted() -> None:
    found = _findings(lambda kind, truth: 2.0 if kind == "mean" else truth)
    assert found.drawn == (1.0, 1.0, 1.0) and found.above_mean == (
        0.0,
        0.0,
        pytest.approx(0.161, abs=1e-3),
    )
    assert found.trusted == "no"


def test_a_metric_that_gives_the_same_to_all_or_nothing_is_not_trusted() -> None:
    assert _findings(lambda kind, truth: 1.0).drawn == (0.0, 0.0, 0.0)
    nothing = _findings(lambda kind, truth: None)
    assert (
        nothing.above_mean is not None and nothing.above_mean[0] == 0.0 and nothing.trusted == "no"
    )


def test_too_few_requests_leave_it_open() -> None:
    sure, wide = (0.9, 0.5, 1.0), (0.6, 0.3, 0.9)
    asked = {"rendered": None, "whole": None, "requests": 5}
    assert Finding("union", "x", "whole", sure, above_mean=wide, **asked).trusted == "open"
    assert Finding("union", "x", "whole", None, above_mean=sure, **asked).trusted == "open"
    assert (
        Finding("union", "x", "whole", wide, above_mean=(0.9, 0.6, 1.0), **asked).trusted == "yes"
    )


def test_a_picture_without_a_number_ranks_last() -> None:
    found = _findings(lambda kind, truth: None if kind == "noise" else truth)
    assert found.drawn == SURE


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    found = [_findings(lambda kind, truth: truth)]
    settings = {
        "requests": 20,
        "stack": "pocket",
        "models": {"clip": {"name": "a", "revision": "b"}},
    }
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- metrics: begin -->\nold\n<!-- metrics: end -->\nbelow\n")
    for _ in range(2):
        write_page(page, found, settings)
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text
    assert text.count("| union | object_x |") == 1 and "a@b" in text
    assert trust_table(found) in text
    page.write_text("no marks")
    with pytest.raises(InputError, match="has no place for the table"):
        write_page(page, found, settings)


@pytest.mark.slow
def test_the_check_runs_whole_on_the_pocket_stack(tmp_path: Path) -> None:
    wanted = "object_clip,object_edges,lost,garments_found"
    arguments = ["--count=2", f"--metrics={wanted}", f"--out={tmp_path}", "--device=cpu"]
    assert cli.main(["eval", "metrics", *arguments]) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())
    asked = {(one["operator"], one["metric"]) for one in found["findings"]}
    assert {
        ("texturing", "object_edges"),
        ("union", "lost"),
        ("clothes", "garments_found"),
    } <= asked
    assert {"pops", "torch"} <= found["versions"].keys() and found["settings"]["requests"] == 2
    with Image.open(tmp_path / "metrics.png") as figure:
        assert figure.width > 100
