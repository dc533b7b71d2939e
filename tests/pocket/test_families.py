"""The training data of the pocket stack: families of near misses, their batches and labels."""

import random
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from pops.pocket.build.data.batches import Batch, Batches, caption_facts, jitter
from pops.pocket.build.data.embeds import build_embeds, load_embeds
from pops.pocket.build.data.families import families, may_be_seen
from pops.pocket.build.data.labels import CLASSES, WHAT, answer, labels, piece_labels
from pops.pocket.build.data.pictures import (
    build_pictures,
    draw_garments,
    draw_groups,
    load_pictures,
    shard_names,
)
from pops.pocket.build.models.clip import DIM, Clip, make_tokenizer
from pops.pocket.build.models.clip_training import ask_questions
from pops.pocket.world.scene import outfit, pair, single
from pops.pocket.world.split import (
    combination_split,
    held_out,
    held_out_pairs,
    outfit_split,
    pair_split,
)
from pops.pocket.world.vocabulary import GARMENTS, MATERIALS, OBJECTS
from pops.stacks.stack import open_stack


@pytest.fixture(scope="module")
def made():
    return list(families(random.Random("a shard"), 3))


def _kept(group):
    return [s for s in group if s.items]


def test_no_family_shows_what_is_held_out_for_any_purpose(made):
    for scene in (scene for group in made for scene in group):
        things = [(i.shape, i.material) for i in scene.things]
        if any(i.shape == "mannequin" for i in scene.items):
            assert outfit_split(things) == "train"
            continue
        assert all(combination_split(*thing, scene.background) == "train" for thing in things)
        assert len(things) != 2 or pair_split(*things) == "train"


def test_what_is_held_out_may_not_be_seen():
    rng = random.Random(0)
    for split in ("test", "validation"):
        assert not may_be_seen(single(*held_out(split)[0], rng))
        assert not may_be_seen(pair(*held_out_pairs(split)[0], "studio", rng))
    worn = [("hat", m) for m in MATERIALS]
    splits = {outfit_split([(f"worn {g}", m)]): (g, m) for g, m in worn}
    assert not may_be_seen(outfit([splits["test"]], "studio", rng))
    assert may_be_seen(outfit([splits["train"]], "studio", rng))


def test_every_content_of_a_family_is_drawn_in_two_geometries(made):
    for group in made[:-1]:
        contents = Counter(scene.caption for scene in _kept(group))
        assert set(contents.values()) == {2}
        views = {scene.caption: set() for scene in _kept(group)}
        for scene in _kept(group):
            views[scene.caption].add(scene.view)
        assert all(len(own) == 2 for own in views.values())


def test_a_family_holds_near_misses(made):
    pairs = [group for group in made if len(group[0].items) == 2 and len(group[0].things) == 2]
    near = []
    for group in pairs:
        shown = [{(i.shape, i.material) for i in scene.things} for scene in group]
        near += [any(len(things & other) == 1 for other in shown) for things in shown]
    # What is held out may be the miss of another.
    assert len(near) > 50 and sum(near) > 0.9 * len(near)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of a few families, rendered by two processes."""
    folder = tmp_path_factory.mktemp("pictures")
    build_pictures(folder, 2, 600, make=few_families, workers=2)
    return folder


def few_families(rng, shard):
    """A family of each kind, and the empty places."""
    return draw_groups(list(families(rng, shard))[11::4], rng, shard)


def test_shards_are_read_from_the_disk_as_they_were_made(folder):
    assert shard_names(folder) == ["0000", "0001"]
    data = load_pictures(folder)
    pictures, things, records = few_families(random.Random("0/1"), 1)
    rows = range(len(data.records) - len(records), len(data.records))
    assert torch.equal(data.batch(rows), torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255)
    assert torch.equal(data.seen(rows), torch.from_numpy(things))
    assert [r["caption"] for r in data.records[rows[0] :]] == [r["caption"] for r in records]


def test_pictures_of_one_content_lie_in_different_geometries(folder):
    seen = {}
    for record in load_pictures(folder).records:
        if record["kind"] != "swatch":
            names = seen.setdefault((record["group"], record["caption"]), [])
            assert record["geometry"] not in names
            names.append(record["geometry"])


# --- batches --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch(folder, garments):
    batches = Batches(load_pictures(folder), load_pictures(garments))
    return batches.draw(random.Random(0), grid=4)


@pytest.fixture(scope="module")
def garments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("garments")
    few = partial(draw_garments, materials=MATERIALS[:2])
    build_pictures(folder, 2, 600, "garments", few, workers=2)
    return folder


def test_garments_are_seen_alone_in_their_slots(garments):
    records = load_pictures(garments).records
    assert {r["name"] for r in records} >= {"hat", "left-shoe", "right-shoe", "upper-clothes"}
    assert {answer(r)["object"] for r in records} == {
        CLASSES["object"] - len(GARMENTS) + i for i in range(len(GARMENTS))
    }


def test_a_batch_shows_every_content_twice_and_knows_what_is_the_same(batch):
    assert len(batch.pictures) == len(batch.names) == len(batch.answers)
    same, near = batch.same()
    assert torch.equal(same, same.T) and not same.diagonal().any() and near.diagonal().all()
    assert not (same & near).any()
    whole = [i for i, name in enumerate(batch.names) if not name.startswith(("#", "cut"))]
    assert len(whole) > 20 and same[whole].any(1).all()
    for i, j in same.nonzero().tolist():
        assert batch.answers[i] == batch.answers[j]


def test_a_pair_in_the_other_order_counts_neither_for_nor_against(batch):
    _, near = batch.same()
    for i, j in near.fill_diagonal_(False).nonzero().tolist():
        mine, other = batch.answers[i], batch.answers[j]
        assert (mine["object"], mine["material"]) == (other["object_b"], other["material_b"])


def test_a_caption_is_true_of_its_own_picture_and_of_all_others_that_it_fits(batch):
    captions, true = batch.true()
    assert true.shape == (len(batch.pictures), len(captions))
    for row, caption in enumerate(batch.captions):
        assert true[row, captions.index(caption)]


def test_facts_tell_objects_of_one_material_apart_from_others():
    wooden = {"kind": "single", "caption": "a wooden mug on the beach", "adjective": None}
    wooden |= {"things": [["mug", "wood"]], "background": "beach"}
    golden = {**wooden, "caption": "a golden mug on the beach", "things": [["mug", "gold"]]}
    said = frozenset({"shape mug", "material wood"})
    assert said <= caption_facts(wooden) and not said <= caption_facts(golden)


def test_a_moved_picture_is_the_same_but_for_its_edges():
    picture = torch.rand(1, 3, 126, 126)
    moved = jitter(picture.expand(20, -1, -1, -1), random.Random(0))
    assert moved.shape == (20, 3, 126, 126) and len({float(m.sum()) for m in moved}) > 10
    inner = picture[0, :, 12:-12, 12:-12]
    for one in moved:
        shifts = ((y, x) for y in range(25) for x in range(25))
        assert any(torch.equal(one[:, y : y + 102, x : x + 102], inner) for y, x in shifts)


# --- labels ---------------------------------------------------------------------------------


def test_labels_answer_by_place_and_by_garment():
    records = [
        {"kind": "single", "things": [["mug", "wood"]], "background": "beach", "adjective": None},
        {"kind": "swatch", "things": [["", "ice"]]},
        {
            "kind": "pair",
            "things": [["hat", "red"], ["car", "gold"]],
            "background": "room",
            "adjective": None,
        },
        {
            "kind": "outfit",
            "things": [["worn hat", "gold"]],
            "background": "room",
            "adjective": None,
        },
    ]
    found = labels(records)
    assert set(found) == set(CLASSES)
    none, person = len(OBJECTS), len(OBJECTS) + 1
    assert found["object"].tolist() == [0, none, OBJECTS.index("hat"), person]
    assert found["object_b"].tolist() == [none, none, OBJECTS.index("car"), none]
    assert found["material_b"].tolist()[2] == MATERIALS.index("gold")
    assert found["worn hat"].tolist() == [20, 20, 20, MATERIALS.index("gold")]
    assert all(int(v.max()) < CLASSES[k] for k, v in found.items())


def test_a_piece_shows_what_most_of_it_shows():
    record = {"kind": "pair", "things": [["mug", "wood"], ["car", "gold"]], "background": "night"}
    seen = torch.zeros(1, 32, 32, dtype=torch.uint8)
    seen[0, 16:, :10], seen[0, 16:, 18:] = 1, 2
    what, material = piece_labels([record], seen, grid=2)
    assert [WHAT[i] for i in what[0]] == ["night", "night", "mug", "car"]
    assert material[0].tolist() == [20, 20, MATERIALS.index("wood"), MATERIALS.index("gold")]


def test_a_small_garment_is_told_before_the_person_and_the_place():
    record = {"kind": "outfit", "things": [["worn shoes", "gold"]], "background": "studio"}
    seen = torch.zeros(1, 16, 16, dtype=torch.uint8)
    seen[0, :, 4:12] = 1  # the mannequin
    seen[0, 9:, 4:12] = 2
    what, _ = piece_labels([record], seen, grid=1)
    assert WHAT[what[0, 0]] == "worn shoes"
    seen[0, 11:, 4:12] = 1
    what, _ = piece_labels([record], seen, grid=1)
    assert WHAT[what[0, 0]] == "studio"


# --- embeddings -----------------------------------------------------------------------------


def test_embeddings_are_made_once_for_an_encoder_and_again_for_another(folder, tmp_path):
    encoder = open_stack("pocket", device="cpu").image_encoder.model
    assert not build_embeds(tmp_path, encoder, folder, seconds=0)
    assert build_embeds(tmp_path, encoder, folder, seconds=600)
    names, found = load_embeds(tmp_path, folder)
    data = load_pictures(folder, names)
    assert len(found.pictures) == len(data.records) and torch.isfinite(found.cuts).all()
    assert {data.records[row]["kind"] for row in found.rows} == {"single", "pair", "outfit"}
    before = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    build_embeds(tmp_path, encoder, folder, seconds=600)
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == before
    with torch.no_grad():
        next(encoder.parameters()).add_(1.0)
    build_embeds(tmp_path, encoder, folder, seconds=600)
    assert not torch.equal(load_embeds(tmp_path, folder)[1].pictures, found.pictures)
    with np.load(tmp_path / "0000.npz") as file:
        assert {"encoder", "pictures", "cuts", "rows", "slots"} == set(file)


def test_pictures_of_nothing_do_not_drown_those_of_something():
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["a red mug"])
    clip = Clip(tokenizer).eval()
    pair = {"kind": "pair", "things": [["hat", "red"], ["car", "gold"]], "background": "room"}
    person = {"kind": "outfit", "things": [["worn hat", "gold"]], "background": "room"}
    empty = {"kind": "empty", "things": [], "background": "room"}
    embeds = {name: torch.randn(1, DIM) for name in ("pair", "person", "empty")}

    def loss(empties):
        answers = [answer(pair), answer(person), *[answer(empty)] * empties]
        shown = torch.cat([embeds["pair"], embeds["person"], *[embeds["empty"]] * empties])
        return float(ask_questions(clip, shown, Batch(answers=answers)).detach())

    few, many = loss(2), loss(40)
    of_things = loss(2) - loss(1)
    assert abs(many - few) < 0.5 * few and abs(of_things) < 0.1 * few
