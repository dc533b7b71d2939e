"""The pocket benchmark: its requests, its galleries, and what it says of them."""

import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from pops.cli import main as cli
from pops.engine import Engine
from pops.errors import UsageError
from pops.evaluation.pocket.cases import retrieve
from pops.evaluation.pocket.intervals import share_intervals
from pops.evaluation.pocket.judged import (
    ADJECTIVE,
    ONE_OBJECT,
    OUTFIT,
    PAIR,
    judge_pictures,
    kid,
    sharpness,
)
from pops.evaluation.pocket.run import TASKS, compare_guidance, evaluate
from pops.evaluation.pocket.sheets import result_sheet
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Asking
from pops.operators import GARMENTS as SLOTS
from pops.pocket.judge import Judge, JudgeConfig, load_judge
from pops.pocket.world.cutout import SLOT_OF
from pops.pocket.world.render import render
from pops.pocket.world.scene import single
from pops.pocket.world.split import combination_split, outfit_split, pair_split
from pops.stacks.spec import WEIGHTS


def _pair(*things):
    return Shown(frozenset(things), "studio")


def test_a_leak_is_a_material_on_the_wrong_thing_and_a_loss_a_missing_thing():
    wanted = _pair(("mug", "wood"), ("car", "gold"))
    right, swapped = wanted, _pair(("mug", "gold"), ("car", "wood"))
    both_gold, other = (
        _pair(("mug", "gold"), ("car", "gold")),
        _pair(("mug", "red"), ("car", "gold")),
    )
    alone = _pair(("car", "wood"))
    names = [right, swapped, both_gold, other, alone]
    assert [n.leaks(wanted) for n in names] == [False, True, True, False, False]
    assert [n.loses(wanted) for n in names] == [False, False, False, False, True]


def test_the_best_of_the_right_pictures_counts():
    gallery = torch.eye(4)
    queries = torch.tensor([[0.9, 0.5, 0.1, 0.0], [0.9, 0.5, 0.1, 0.0]])
    found, nearest = retrieve(queries, gallery, [[0, 3], [1, 2]])
    assert nearest == [0, 0]
    assert (found.top1, found.top5, found.mean_rank) == (0.5, 1.0, 1.5)


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("name", ["union", "instruct", "scene"])
def test_every_answer_is_in_the_gallery_and_is_of_its_split(name, split):
    task = TASKS[name](Asking(64, split, 6))
    names = {shown for shown, _ in task.gallery}
    assert len(task.inputs) == len(task.wanted) == len(task.twins) == 6
    for wanted in task.wanted:
        assert wanted in names
        things = sorted(wanted.things)
        if len(things) == 2:
            assert pair_split(*things) == split
        else:
            assert combination_split(*things[0], wanted.background) == split


@pytest.mark.parametrize("split", ["test", "validation"])
def test_clothes_are_asked_for_in_outfits_of_their_split(split):
    task = TASKS["clothes"](Asking(64, split, 3))
    for request, wanted in zip(task.inputs, task.wanted, strict=True):
        given = {slot for slot, garment in zip(SLOTS, request, strict=True) if garment}
        assert given == {slot for name, _ in wanted.things for slot in SLOT_OF[name]}
        assert outfit_split((f"worn {name}", m) for name, m in wanted.things) == split
        assert sum(shown == wanted for shown, _ in task.gallery) == 1


def test_an_unknown_operator_is_named():
    with pytest.raises(UsageError, match="no pocket benchmark of 'blending'"):
        evaluate("blending")


def test_guidance_is_compared_on_requests_that_are_not_reported():
    engine = Engine.load("pocket", device="cpu")
    found = compare_guidance("union", (1.0, 3.0), engine=engine, limit=3)
    assert set(found) == {1.0, 3.0}
    assert all(0 <= numbers["top1"] <= 1 for numbers in found.values())
    assert found[1.0]["ceiling_top1"] == found[3.0]["ceiling_top1"]
    assert not any(key.startswith("rendered") for key in found[1.0])


# --- rendered pictures ----------------------------------------------------------------------


@pytest.fixture
def objects():
    """Twelve true pictures of single objects, and what they show."""
    rng = random.Random(0)
    things = [(shape, material) for shape in ("mug", "car", "fish") for material in ("red", "dots")]
    scenes = [single(*thing, place, rng) for thing in things for place in ("studio", "beach")]
    drawn = [Image.fromarray(p.numpy()) for p in render(scenes, 64).pictures]
    shown = [
        Shown(frozenset({(s.items[0].shape, s.items[0].material)}), s.background) for s in scenes
    ]
    return drawn, shown


def test_the_shipped_judge_names_true_pictures(objects):
    judge = load_judge(WEIGHTS / "judge")
    seen = judge_pictures(judge, ONE_OBJECT, *objects)
    assert set(seen) == {"object", "material", "background"}
    assert min(seen.values()) > 0.9


def test_a_judge_is_not_asked_what_it_does_not_know(objects):
    judge = Judge(JudgeConfig(64, (4, 4), {"object": 20})).eval()
    assert set(judge_pictures(judge, ONE_OBJECT, *objects)) == {"object"}
    assert judge_pictures(judge, OUTFIT, *objects) == {}


def _seen(**answers):
    return {
        question.replace("_", " ") if "worn" in question else question: word
        for question, word in answers.items()
    }


def test_two_things_count_in_any_order_and_only_in_their_own_materials():
    wanted = _pair(("mug", "wood"), ("car", "gold"))
    right = _seen(object="car", object_b="mug", material="gold", material_b="wood")
    swapped = {**right, "material": "wood", "material_b": "gold"}
    twice = {**right, "object": "mug"}
    checks = PAIR["both_objects"].share, PAIR["both_materials"].share
    assert [[check(seen, wanted) for check in checks] for seen in (right, swapped, twice)] == [
        [True, True],
        [True, False],
        [False, False],
    ]


def test_garments_count_one_by_one():
    wanted = _pair(("hat", "red"), ("bag", "gold"))
    share = OUTFIT["garments"].share
    assert share(_seen(worn_hat="red", worn_bag="gold"), wanted) == 1.0
    assert share(_seen(worn_hat="red", worn_bag=None), wanted) == 0.5


def test_an_adjective_must_be_the_one_that_was_asked_for():
    wanted = Shown(frozenset({("mug", "wood")}), "studio", "tiny")
    share = ADJECTIVE["adjective"].share
    assert share(_seen(adjective="tiny"), wanted) and not share(_seen(adjective=None), wanted)


def test_a_blurred_picture_is_less_sharp_and_an_equal_one_as_sharp(objects):
    drawn, _ = objects
    blurred = [p.resize((16, 16)).resize((64, 64)) for p in drawn]
    assert sharpness(drawn, drawn) == pytest.approx(1.0)
    assert sharpness(blurred, drawn) < 0.8


def test_the_kernel_distance_is_of_kinds_of_pictures(objects):
    drawn, _ = objects
    judge = load_judge(WEIGHTS / "judge")
    other = [Image.new("RGB", (64, 64), (9 * i, 40, 90)) for i in range(12)]
    assert kid(judge, other, drawn) > 1 > kid(judge, drawn[::2], drawn[1::2])
    torch.testing.assert_close(kid(judge, other, drawn), kid(judge, other[::-1], drawn))


def test_a_sheet_shows_the_first_requests_with_their_results():
    engine = Engine.load("pocket", device="cpu")
    sheet = result_sheet("clothes", engine, count=3)
    pixels = np.asarray(sheet.convert("L"))
    assert sheet.width > 3 * 160 and pixels.min() < 60
    # Inputs stand above the results, in all three columns.
    for left in (32, 32 + 176, 32 + 2 * 176):
        assert (pixels[32:80, left : left + 160] < 250).any()
        assert (pixels[88:248, left : left + 160] < 250).any()


def test_shares_of_requests_have_intervals_and_other_numbers_have_none():
    numbers = {"requests": 252, "top1": 0.8849206566810608, "mean_rank": 1.0, "chance": 0.0}
    found = share_intervals({**numbers, "rendered_garments": 0.3333, "lost": 0.0})
    assert set(found) == {"top1", "lost"}
    assert [round(end, 3) for end in found["top1"]] == [0.84, 0.919]
    assert found["lost"][0] == 0.0 and 0 < found["lost"][1] < 0.02
    assert share_intervals({"top1": 0.5}) == {}


def test_the_command_keeps_its_numbers_and_gives_intervals_beside(monkeypatch, capsys):
    numbers = {"requests": 200, "top1": 0.5, "mean_rank": 2.5, "chance": 0.01}
    report = {"union": numbers, "decoder": {"sharpness": 0.9}}
    monkeypatch.setattr("pops.evaluation.pocket.run.evaluate", lambda *_, **__: report)
    assert cli.main(["eval", "pocket", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    low, high = said["union"].pop("intervals")["top1"]
    assert said["union"] == numbers and (round(low, 3), round(high, 3)) == (0.431, 0.569)
    assert said["decoder"] == {"sharpness": 0.9, "intervals": {}}
    assert cli.main(["eval", "pocket"]) == 0
    assert "[0.431, 0.569]" in capsys.readouterr().out
