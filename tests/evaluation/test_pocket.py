"""What the pocket operators learn from, and what the benchmark asks of them."""

import random
from itertools import islice

import pytest
import torch

from pops.evaluation.pocket.run import TASKS, retrieve
from pops.evaluation.pocket.single import Shown
from pops.operators import GARMENTS as SLOTS
from pops.pocket.build import recipes
from pops.pocket.build.clip import DIM
from pops.pocket.build.cutouts import Cutouts
from pops.pocket.build.embeds import Embeds
from pops.pocket.build.pictures import dressed
from pops.pocket.build.recipes import ClothesBatch, SceneBatch, UnionBatch
from pops.pocket.world.cutout import SLOT_OF, cut_out, on_white, slots_of
from pops.pocket.world.outfits import random_garments
from pops.pocket.world.scene import pair
from pops.pocket.world.split import (
    held_out_pairs,
    is_held_out,
    is_held_out_outfit,
    is_held_out_pair,
)
from pops.pocket.world.vocabulary import GARMENTS, MATERIALS
from pops.prior.model import Prior, PriorConfig

# --- cutting out ----------------------------------------------------------------------------


def test_a_cut_out_thing_is_centred_on_white():
    picture = torch.zeros(3, 64, 64)
    picture[0, 5:15, 40:50] = 1.0
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[5:15, 40:50] = True
    cut = cut_out(picture, mask, 48)
    assert cut is not None and cut.shape == (3, 48, 48)
    torch.testing.assert_close(cut[:, 0], torch.ones(3, 48), atol=0.02, rtol=0)
    torch.testing.assert_close(cut[:, 24, 24], torch.tensor([1.0, 0.0, 0.0]))
    white = (cut.amin(0) > 0.99).float()
    assert abs(white[:, :24].sum() - white[:, 24:].sum()) < 0.1 * white.sum()


def test_too_little_to_see_is_not_cut_out():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[3, 3:6] = True
    assert cut_out(torch.zeros(3, 64, 64), mask, 64) is None


def test_what_is_round_a_thing_becomes_white():
    mask = torch.eye(4, dtype=torch.bool)
    found = on_white(torch.zeros(3, 4, 4), mask)
    assert torch.equal(found, 1 - torch.eye(4).expand(3, 4, 4))


def test_every_garment_has_slots_and_shoes_have_two():
    assert set(SLOT_OF) == set(GARMENTS)
    assert all(slot in SLOTS for slots in SLOT_OF.values() for slot in slots)
    mask = torch.zeros(8, 20, dtype=torch.bool)
    mask[2:6, 2:6] = mask[2:6, 12:16] = True
    parts = slots_of("shoes", mask)
    assert parts["left-shoe"].any(0).nonzero().flatten().tolist() == [12, 13, 14, 15]
    assert parts["right-shoe"].any(0).nonzero().flatten().tolist() == [2, 3, 4, 5]
    assert torch.equal(slots_of("bag", mask)["bag"], mask)


# --- held out -------------------------------------------------------------------------------


def test_a_held_out_pair_is_held_out_in_any_order():
    pairs = held_out_pairs()
    assert 150 < len(pairs) < 250
    assert all(is_held_out_pair(b, a) and is_held_out_pair(a, b) for a, b in pairs)


def test_no_training_picture_shows_a_held_out_pair(monkeypatch):
    (a, m), (b, n) = held_out_pairs()[0]
    base = pair((a, "red"), (b, "red"), "studio", random.Random(0))
    monkeypatch.setattr("pops.pocket.build.pictures.MATERIALS", (m, n, "brick"))
    scenes = dressed(base, random.Random(1), ["forest"] * 20, 2)
    shown = {tuple(i.material for i in scene.items) for scene in scenes}
    assert len(shown) > 3 and (m, n) not in shown


def test_garments_that_are_worn_together_fit():
    rng = random.Random(0)
    for _ in range(50):
        worn = random_garments(rng)
        assert len(set(worn)) == len(worn) and not {"skirt", "trousers"} <= set(worn)


# --- recipes --------------------------------------------------------------------------------


def _record(kind, things, background="studio", adjective=None, group="0"):
    named = [list(thing) for thing in things]
    return {
        "kind": kind,
        "things": named,
        "background": background,
        "adjective": adjective,
        "group": group,
    }


RECORDS = [
    _record("single", [("mug", "wood")]),
    _record("single", [("car", "gold")]),
    _record("pair", [("mug", "wood"), ("car", "gold")]),
    _record("single", [("mug", "wood")], "forest"),
    _record("single", [("car", "gold")], "forest"),
    _record("pair", [("car", "gold"), ("mug", "wood")], "forest"),
    _record("empty", [], "studio"),
    _record("empty", [], "forest"),
    _record("outfit", [("worn hat", "red"), ("worn shoes", "gold")]),
]
# (row, slot) of everything cut out
CUT = [(0, 0), (1, 1), (2, 0), (2, 1), (3, 1), (4, 0), (5, 0), (5, 1), (8, SLOTS.index("hat"))]


@pytest.fixture
def pool():
    """Row i is the number i in all places; cut-outs count from 100, garments from 200."""
    rows = torch.arange(len(RECORDS)).float()[:, None].expand(-1, DIM) + 1
    embeds = Embeds(rows, torch.zeros_like(rows), torch.zeros(DIM))
    cuts = Cutouts(
        torch.arange(100.0, 100 + len(CUT))[:, None].expand(-1, DIM),
        [row for row, _ in CUT],
        [slot for _, slot in CUT],
    )
    every = [
        (m, SLOTS.index(s)) for m in range(len(MATERIALS)) for p in SLOT_OF.values() for s in p
    ]
    alone = Cutouts(
        torch.arange(200.0, 200 + len(every))[:, None].expand(-1, DIM),
        [m for m, _ in every],
        [s for _, s in every],
    )
    return recipes.join([(RECORDS, embeds, cuts)], alone)


@pytest.fixture
def prior():
    """One whose normalised space is the embeddings' own."""
    prior = Prior(PriorConfig(1, 8, 1, DIM))
    with torch.no_grad():
        prior.clip_mean.zero_()
        prior.clip_std.fill_(1.0)
    return prior


def _examples(batch, number=200):
    """(target, tokens) as numbers, those that are not dropped."""
    target, conditions = batch(0)
    rows = zip(target[:, 0].tolist(), conditions.tokens[..., 0].tolist(), strict=True)
    return [(t, tuple(c)) for t, c in islice(rows, number) if any(c)]


def test_union_is_given_its_things_cut_out_or_alone_in_its_place(pool, prior):
    seen = set(_examples(UnionBatch(pool, prior)))
    in_place = {(3.0, (1.0, 2.0)), (3.0, (2.0, 1.0)), (6.0, (4.0, 5.0)), (6.0, (5.0, 4.0))}
    cut = {(3.0, (102.0, 103.0)), (3.0, (103.0, 102.0))}
    assert seen == in_place | cut


def test_scene_is_given_the_thing_from_anywhere_and_an_empty_place(pool, prior):
    seen = set(_examples(SceneBatch(pool, prior)))
    empty = {1.0: 7.0, 2.0: 7.0, 4.0: 8.0, 5.0: 8.0}
    assert {target for target, _ in seen} == set(empty)
    assert all(place == empty[target] for target, (_, place) in seen)
    assert {thing for target, (thing, _) in seen if target == 4.0} == {1.0, 4.0, 104.0}


def test_clothes_are_given_each_in_its_slot(pool, prior, monkeypatch):
    monkeypatch.setattr(recipes, "is_held_out_outfit", lambda things: False)
    hat, left, right = (SLOTS.index(s) for s in ("hat", "left-shoe", "right-shoe"))
    hats = set()
    target, conditions = ClothesBatch(pool, prior)(0)
    assert conditions.tokens.shape[1] == len(SLOTS)
    assert set(conditions.mask.sum(1).tolist()) == {right + 1, len(SLOTS)}
    for tokens in conditions.tokens[..., 0]:
        if tokens.any():
            assert set(tokens.nonzero().flatten().tolist()) == {hat, left, right}
            hats.add(float(tokens[hat]))
    assert len(hats) == 2 and 108.0 in hats  # cut out of the target, and alone


def test_clothes_never_train_on_a_held_out_outfit(pool, prior, monkeypatch):
    monkeypatch.setattr(recipes, "is_held_out_outfit", lambda things: True)
    assert ClothesBatch(pool, prior).targets == []


def test_a_batch_is_a_function_of_its_step(pool, prior):
    batch = UnionBatch(pool, prior)
    (first, a), (again, b), (other, _) = batch(3), batch(3), batch(4)
    assert torch.equal(first, again) and torch.equal(a.tokens, b.tokens)
    assert not torch.equal(first, other)


# --- the benchmark --------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["union", "instruct", "scene"])
def test_every_answer_is_in_the_gallery_and_is_held_out(name):
    task = TASKS[name](6)
    names = {shown for shown, _ in task.gallery}
    assert len(task.inputs) == len(task.wanted) == len(task.twins) == 6
    for wanted in task.wanted:
        assert wanted in names
        things = sorted(wanted.things)
        if len(things) == 2:
            assert is_held_out_pair(*things)
        else:
            assert is_held_out(*things[0], wanted.background)


def test_clothes_are_asked_for_in_held_out_outfits():
    task = TASKS["clothes"](3)
    for request, wanted in zip(task.inputs, task.wanted, strict=True):
        given = {slot for slot, garment in zip(SLOTS, request, strict=True) if garment}
        assert given == {slot for name, _ in wanted.things for slot in SLOT_OF[name]}
        assert is_held_out_outfit((f"worn {name}", m) for name, m in wanted.things)
        assert sum(shown == wanted for shown, _ in task.gallery) == 1
