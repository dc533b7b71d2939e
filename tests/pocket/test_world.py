"""The pocket world: deterministic, exactly recorded, and worth looking at."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pops.pocket.world.geometry.garments import GARMENT_SHAPES
from pops.pocket.world.geometry.shapes import SHAPES
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Item, Scene, Swatch, outfit, pair, single, with_adjective
from pops.pocket.world.shading.materials import MATERIAL_TABLE
from pops.pocket.world.split import HELD_OUT_SHARE, combinations, held_out, is_held_out
from pops.pocket.world.vocabulary import (
    ADJECTIVES,
    BACKGROUNDS,
    GARMENTS,
    MATERIAL_WORDS,
    MATERIALS,
    OBJECTS,
)

SIZE = 24


def test_the_world_is_as_rich_as_it_says():
    assert len(set(OBJECTS)) >= 20
    assert len(set(MATERIALS)) >= 20
    assert len(set(BACKGROUNDS)) >= 8
    assert len(set(ADJECTIVES)) >= 6
    assert set(SHAPES) == set(OBJECTS)
    assert set(MATERIALS) <= set(MATERIAL_TABLE)
    assert {f"worn {g}" for g in GARMENTS} <= set(GARMENT_SHAPES)


@pytest.mark.parametrize("shape", OBJECTS)
def test_every_object_stands_large_in_the_middle_of_its_picture(shape):
    scene = single(shape, "red", "studio", random.Random(1))
    mask = render([scene], SIZE).mask(0, 0)
    ys, xs = torch.nonzero(mask, as_tuple=True)
    assert 0.06 < mask.float().mean() < 0.6
    assert abs(xs.float().mean() / SIZE - 0.5) < 0.15
    assert abs(ys.float().mean() / SIZE - 0.5) < 0.2


def test_the_same_scene_gives_the_same_picture_alone_and_in_a_batch():
    rng = random.Random(2)
    scenes = [
        single("mug", "wood", "beach", rng),
        single("mug", "zebra", "night", rng),
        pair(("car", "gold"), ("tree", "knit"), "city", rng),
        with_adjective(single("chair", "ice", "room", rng), "burning", rng),
        outfit([("hat", "red"), ("skirt", "dots")], "snow", rng),
    ]
    together = render(scenes, SIZE)
    for i, scene in enumerate(scenes):
        alone = render([scene], SIZE)
        assert torch.equal(alone.pictures[0], together.pictures[i])
        assert torch.equal(alone.things[0], together.things[i])


def test_scenes_are_a_pure_function_of_the_seed():
    first = single("fish", "lava", "forest", random.Random("seed"))
    assert first == single("fish", "lava", "forest", random.Random("seed"))
    assert first != single("fish", "lava", "forest", random.Random("another"))


def test_material_and_background_change_the_picture_but_not_the_mask():
    base = single("teapot", "red", "studio", random.Random(3))
    other = replace(base, items=(replace(base.items[0], material="zebra"),), background="city")
    both = render([base, other], SIZE)
    assert torch.equal(both.things[0], both.things[1])
    difference = (both.pictures[0].int() - both.pictures[1].int()).abs()
    assert difference[both.mask(0, 0)].float().mean() > 20
    assert difference[~both.mask(0, 0)].float().mean() > 20


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("material", ["red", "blue", "green"])
def test_plain_colours_keep_their_hue_in_every_light(background, material):
    scene = single("cube", material, background, random.Random(4))
    rendering = render([scene], SIZE)
    colour = rendering.pictures[0][rendering.mask(0, 0)].float().mean(0)
    assert int(colour.argmax()) == ("red", "green", "blue").index(material)


def test_a_box_is_the_tight_frame_of_its_mask():
    rendering = render([single("ball", "dots", "beach", random.Random(5))], SIZE)
    x1, y1, x2, y2 = rendering.box(0, 0)
    mask = rendering.mask(0, 0)
    assert mask[y1:y2, x1:x2].sum() == mask.sum()
    assert mask[y1].any() and mask[y2 - 1].any()
    assert mask[:, x1].any() and mask[:, x2 - 1].any()


def test_a_hidden_item_has_no_box():
    small = Item("ball", "red", size=0.2)
    front = Item("cube", "blue", z=1.0, size=1.2)
    rendering = render([Scene((small, front), "studio")], SIZE)
    assert rendering.box(0, 0) is None
    assert rendering.box(0, 1) is not None


def test_a_pair_shows_its_first_thing_on_the_left():
    rendering = render([pair(("ball", "red"), ("cube", "blue"), "room", random.Random(6))], SIZE)
    left, right = rendering.box(0, 0), rendering.box(0, 1)
    assert left[2] <= right[0] + 2


@pytest.mark.parametrize(
    ("adjective", "smaller", "larger"), [("tiny", 0.1, 0.3), ("enormous", 1.5, 9.0)]
)
def test_size_adjectives_change_the_size(adjective, smaller, larger):
    base = single("mug", "red", "studio", random.Random(7))
    changed = with_adjective(base, adjective, random.Random(7))
    rendering = render([base, changed], SIZE)
    ratio = rendering.mask(1, 0).sum() / rendering.mask(0, 0).sum()
    assert smaller < ratio < larger


@pytest.mark.parametrize("adjective", ADJECTIVES)
def test_every_adjective_shows(adjective):
    base = single("mug", "red", "beach", random.Random(8))
    rendering = render([base, with_adjective(base, adjective, random.Random(8))], SIZE)
    assert (rendering.pictures[0].int() - rendering.pictures[1].int()).abs().float().mean() > 2


def test_swatches_of_different_materials_differ():
    pictures = render_swatches([Swatch(m, 3.0) for m in MATERIALS], SIZE).float()
    flat = pictures.reshape(len(MATERIALS), -1)
    distance = torch.cdist(flat, flat) + torch.eye(len(MATERIALS)) * 1e9
    assert distance.min() / flat.shape[1] ** 0.5 > 8


def test_captions_say_what_is_in_the_picture():
    rng = random.Random(9)
    mug = single("mug", "wood", "beach", rng)
    assert mug.caption == "a wooden mug on the beach"
    assert with_adjective(mug, "enormous", rng).caption == "an enormous wooden mug on the beach"
    assert with_adjective(mug, "many", rng).caption == "many wooden mugs on the beach"
    two = pair(("car", "red"), ("hat", "ice"), "night", rng)
    assert two.caption == "a red car and an ice hat at night"
    dressed = outfit([("trousers", "blue"), ("hat", "gold")], "room", rng)
    assert dressed.caption == "a person wearing blue trousers and a golden hat in a room"
    assert Scene((), "city").caption == "an empty place in the city"


@given(
    st.sampled_from(OBJECTS),
    st.sampled_from(MATERIALS),
    st.sampled_from(BACKGROUNDS),
    st.integers(),
)
@settings(max_examples=50, deadline=None)
def test_a_record_says_everything_about_its_scene(shape, material, background, seed):
    scene = single(shape, material, background, random.Random(seed))
    record = scene.record()
    assert record["items"][0]["shape"] == shape
    assert record["items"][0]["material"] == material
    assert record["background"] == background
    assert MATERIAL_WORDS[material] in record["caption"] and shape in record["caption"]


def test_the_split_is_fixed_small_and_balanced():
    out = held_out()
    assert len(out) == 252
    assert all(is_held_out(*c) for c in out)
    assert len(out) / len(combinations()) < 0.1
    assert abs(len(out) / len(combinations()) - HELD_OUT_SHARE) < 0.01
    for place in range(3):
        counts = Counter(c[place] for c in out)
        kinds = {c[place] for c in combinations()}
        mean = len(out) / len(kinds)
        assert set(counts) == kinds
        assert max(counts.values()) < 2.2 * mean


@pytest.mark.parametrize("shape", ["mug", "teapot", "bottle"])
def test_no_speck_of_the_background_shows_within_a_thing(shape):
    rng = random.Random(shape)
    scenes = [single(shape, "red", "studio", rng) for _ in range(6)]
    rendering = render(scenes, 256)
    for i in range(len(scenes)):
        mask = rendering.mask(i, 0).float()[None, None]
        around = torch.nn.functional.avg_pool2d(mask, 3, 1, 1) * 9 - mask
        assert not ((mask == 0) & (around == 8)).any()
