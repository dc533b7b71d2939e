"""The training examples of the pocket stack's operators, and caches of them."""

import random

import pytest
import torch

from pops.data.cache.format import read_index, read_shard
from pops.operators import GARMENTS as SLOTS
from pops.operators import OPERATORS
from pops.pocket.build.data.caches import write_cache
from pops.pocket.build.data.embeds import PATCH, Embeds
from pops.pocket.build.data.pool import make_pool
from pops.pocket.build.data.recipes import RECIPES
from pops.pocket.world.cutout import SLOT_OF
from pops.pocket.world.vocabulary import MATERIALS
from pops.stacks.stack import open_stack

DIM = 128  # of the stack that ships


def _record(kind, things, background="studio", adjective=None, geometry="0"):
    named = [list(thing) for thing in things]
    return {
        "kind": kind,
        "things": named,
        "background": background,
        "adjective": adjective,
        "geometry": geometry,
    }


RECORDS = [
    _record("single", [("mug", "wood")]),
    _record("single", [("car", "gold")], geometry="1"),
    _record("pair", [("mug", "wood"), ("car", "gold")]),
    _record("single", [("mug", "wood")], "forest", geometry="2"),
    _record("single", [("car", "gold")], "forest", geometry="3"),
    _record("pair", [("car", "gold"), ("mug", "wood")], "forest"),
    _record("empty", [], "studio", geometry="9"),
    _record("empty", [], "forest", geometry="9"),
    _record("outfit", [("worn hat", "red"), ("worn shoes", "gold")]),
    _record("single", [("mug", "red")]),
    _record("adjective", [("mug", "wood")], adjective="tiny"),
    _record("swatch", [("", "wood")]),
    _record("swatch", [("", "red")]),
]
HAT = SLOTS.index("hat")
# (row, slot) of everything cut out
CUT = [(0, 0), (1, 1), (2, 0), (2, 1), (3, 1), (4, 0), (5, 0), (5, 1), (8, HAT), (0, PATCH)]


@pytest.fixture
def pool():
    """Row i is the number i + 1 in all places; cut-outs count from 100, garments from 200."""

    def numbers(first, many):
        return torch.arange(float(first), first + many)[:, None].expand(-1, DIM)

    embeds = Embeds(
        numbers(1, len(RECORDS)),
        numbers(100, len(CUT)),
        [row for row, _ in CUT],
        [slot for _, slot in CUT],
    )
    alone = [
        {"name": slot, "things": [[f"worn {garment}", material]]}
        for material in MATERIALS
        for garment, slots in SLOT_OF.items()
        for slot in slots
    ]
    return make_pool(RECORDS, embeds, alone, numbers(200, len(alone)))


def _examples(name, pool, number=300):
    """(target, slots, text) as numbers."""
    recipe, rng = RECIPES[name](pool), random.Random(0)
    drawn = [recipe.example(rng) for _ in range(number)]
    return [
        (e.target + 1, tuple(None if s is None else float(s[0]) for s in e.slots), e.text)
        for e in drawn
        if e is not None
    ]


def test_union_is_given_its_things_cut_out_or_alone_in_its_place(pool):
    seen = {(target, slots) for target, slots, _ in _examples("union", pool)}
    in_place = {(3, (1.0, 2.0)), (3, (2.0, 1.0)), (6, (4.0, 5.0)), (6, (5.0, 4.0))}
    cut = {(3, (102.0, 103.0)), (3, (103.0, 102.0))}
    assert seen == in_place | cut


def test_scene_is_given_the_thing_from_anywhere_and_an_empty_place(pool):
    seen = {(target, slots) for target, slots, _ in _examples("scene", pool)}
    empty = {1: 7.0, 2: 7.0, 4: 8.0, 5: 8.0, 10: 7.0}
    assert {target for target, _ in seen} == set(empty)
    assert all(place == empty[target] for target, (_, place) in seen)
    assert {thing for target, (thing, _) in seen if target == 4} == {1.0, 4.0, 104.0}


def test_texturing_is_given_the_pose_in_another_material_or_itself_and_an_exemplar(pool):
    seen = {(target, slots) for target, slots, _ in _examples("texturing", pool)}
    wood, red, patch = 12.0, 13.0, 109.0
    assert seen == {(1, (s, t)) for s in (1.0, 10.0) for t in (wood, patch)} | {
        (10, (s, red)) for s in (1.0, 10.0)
    }


def test_instruct_is_given_the_very_object_and_an_adjective(pool):
    seen = set(_examples("instruct", pool))
    assert seen == {(11, (1.0,), "tiny"), (11, (1.0,), "a tiny mug")}


def test_clothes_are_given_each_in_its_slot(pool):
    left, right = (SLOTS.index(s) for s in ("left-shoe", "right-shoe"))
    hats, lengths = set(), set()
    for target, slots, _ in _examples("clothes", pool):
        assert target == 9
        assert {i for i, slot in enumerate(slots) if slot is not None} == {HAT, left, right}
        hats.add(slots[HAT])
        lengths.add(len(slots))
    assert len(hats) == 2 and 108.0 in hats  # cut out of the target, and alone
    assert lengths == {right + 1, len(SLOTS)}


@pytest.mark.parametrize("name", OPERATORS)
def test_a_cache_holds_what_the_recipe_draws(name, pool, tmp_path):
    stack = open_stack("pocket", device="cpu")
    write_cache(tmp_path, RECIPES[name](pool), stack, records=4)
    index = read_index(tmp_path)
    shard = read_shard(tmp_path, 0, index)
    assert (index.records, index.dim) == (4, DIM)
    targets = {target for target, _, _ in _examples(name, pool)}
    first = shard.embeds[shard.rows[..., 0].reshape(-1), 0]
    assert {float(value) for value in first} <= targets
    if OPERATORS[name].takes_text:
        assert set(shard.texts) == set(RECIPES[name](pool).texts)
