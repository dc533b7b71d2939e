"""Records and recipes: what an example shows, and how often its conditions are dropped."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pops.data.records.persons as persons
from pops.data.cutting import cut_out, find_patch, paste_at_random, square
from pops.data.reader import Reader, RecipeSettings
from pops.data.recipes import RECIPES, Example, drop, find_recipe, make_example
from pops.data.word_lists import read_words
from pops.errors import DataError, InputError, UsageError, install_hint
from pops.operators import GARMENTS, OPERATORS, TEXTURING, Operator
from tests.data.tiny_data import (
    COLOURS,
    WRITERS,
    disc,
    person,
    picture,
    write_persons,
    write_pictures,
    write_scenes,
    write_texturing,
    write_unions,
)

SMALL = RecipeSettings(garment_side=6, garment_area=20)


def examples(mode: str, folder: Path, count: int, told: RecipeSettings = SMALL) -> list[Example]:
    """Some examples of the first record, nothing dropped."""
    recipe = RECIPES[mode]
    record = recipe.read(str(folder))[0]
    return [recipe.make(record, Random(f"{mode}/{n}"), Reader(told)) for n in range(count)]


def same(a: Image.Image | None, b: Image.Image | None) -> bool:
    return a is not None and b is not None and a.size == b.size and a.tobytes() == b.tobytes()


def within(hits: int, trials: int, chance: float) -> bool:
    """Whether a count is within five standard deviations of its mean."""
    return abs(hits - trials * chance) <= 5 * (trials * chance * (1 - chance)) ** 0.5


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", WRITERS)
def test_every_layout_is_read_in_order_whatever_lies_beside_it(mode: str, tmp_path: Path):
    folder = WRITERS[mode](tmp_path / mode, 12)
    (folder / "manifest.jsonl").write_text("{}")
    (folder / ".hidden.png").write_bytes(b"")
    records = RECIPES[mode].read(str(folder))
    assert len(records) == 12
    assert [r.name for r in records] == sorted({r.name for r in records})
    assert all(file.exists() for record in records for file in record.files)


@pytest.mark.parametrize("mode", WRITERS)
def test_a_missing_or_empty_folder_is_named(mode: str, tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        RECIPES[mode].read(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no sample"):
        RECIPES[mode].read(str(tmp_path / "empty"))


def test_a_name_says_all_but_its_seed(tmp_path: Path):
    for name in ("coffee-mug_on-the-beach_17.jpg", "red hat_in snow_3.png"):
        picture(disc(), COLOURS[0], 0).save(tmp_path / name)
    words = [record.words for record in RECIPES["instruct"].read(str(tmp_path))]
    assert words == ["coffee mug on the beach", "red hat in snow"]


def test_the_word_lists_have_no_doubles_and_about_the_published_number():
    adjectives, arts = read_words("adjectives"), read_words("art_types")
    assert (len(adjectives), len(arts)) == (63, 41)
    assert read_words("none") == ()
    assert len({*adjectives}) == len(adjectives) and len({*arts}) == len(arts)


# --- cutting ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(5, 40), st.integers(5, 40)),
    st.floats(1, 30),
    st.floats(1, 30),
)
def test_a_patch_lies_inside_its_mask(seed: int, shape: tuple[int, int], least: float, most: float):
    noise = np.random.default_rng(seed)
    mask = noise.random(shape) < noise.choice([0.5, 0.9, 0.99, 1.0])
    found = find_patch(mask, Random(seed), least, most)
    if found is None:
        return
    x, y, side = found
    assert side >= 4 and side <= max(round(max(least, most)), 1)
    assert mask[y : y + side, x : x + side].all()
    assert mask[y : y + side, x : x + side].shape == (side, side)


def test_a_patch_can_lie_anywhere_where_it_fits_and_be_of_any_size_between():
    found = [find_patch(np.ones((12, 12), bool), Random(n), 8, 10) for n in range(600)]
    assert {side for _, _, side in found} == {8, 9, 10}
    assert {(x, y) for x, y, side in found if side == 10} == {
        (x, y) for x in range(3) for y in range(3)
    }


def test_where_nothing_fits_there_is_no_patch():
    assert find_patch(np.zeros((9, 9), bool), Random(0), 4, 8) is None
    assert find_patch(np.eye(9, dtype=bool), Random(0), 4, 8) is None


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 99))
def test_a_pasted_thing_fills_most_of_its_square_and_keeps_its_shape(
    width: int, height: int, seed: int
):
    made = np.asarray(paste_at_random(Image.new("RGB", (width, height)), 100, Random(seed)))
    seen = made[..., 0] < 128
    tall, wide = seen.any(1).sum(), seen.any(0).sum()
    assert made.shape == (100, 100, 3)
    assert 79 <= max(tall, wide) <= 96
    assert min(tall, wide) == pytest.approx(
        max(tall, wide) * min(width, height) / max(width, height), abs=1.6
    )


def test_a_square_holds_the_picture_in_its_middle():
    shown = square(Image.new("RGB", (10, 20), "red"))
    assert shown.size == (20, 20)
    assert shown.getpixel((4, 9)) == (255, 255, 255) and shown.getpixel((5, 9)) == (255, 0, 0)


def test_what_is_cut_out_is_on_white_and_cropped():
    piece = cut_out(picture(disc((10, 30), 8), COLOURS[0], 0), disc((10, 30), 8))
    assert piece.size == (15, 15)
    assert piece.getpixel((7, 7)) == COLOURS[0] and piece.getpixel((0, 0)) == (255, 255, 255)


# --- the recipes -----------------------------------------------------------------------------


def test_texturing_shows_the_target_with_another_material_or_a_fifth_of_the_time_itself(
    tmp_path: Path,
):
    made = examples("texturing", write_texturing(tmp_path / "t", 1), 600)
    itself = sum(same(e.target, e.inputs[0]) for e in made)
    assert within(itself, 600, 0.2)
    base = Image.open(tmp_path / "t" / "mug_000" / "base.png").convert("RGB")
    assert not any(same(e.target, base) for e in made)
    assert within(sum(same(e.inputs[0], base) for e in made), 600, 0.8 / 3)


def test_a_texture_is_of_the_object_alone_and_of_several_sizes(tmp_path: Path):
    made = examples("texturing", write_texturing(tmp_path / "t", 1), 60)
    for example in made:
        patch = np.asarray(example.inputs[1])
        assert tuple(patch.reshape(-1, 3)[0]) in COLOURS
        assert (patch == patch[0, 0]).all()
    assert len({e.inputs[1].size for e in made if e.inputs[1]}) > 3


def test_a_box_may_be_a_list_or_named_and_bounds_the_patch(tmp_path: Path):
    folder = write_texturing(tmp_path / "t", 1) / "mug_000"
    for box in ([10, 20, 22, 32], {"x1": 10, "y1": 20, "x2": 22, "y2": 32}):
        (folder / "box.json").write_text(json.dumps(box))
        made = examples("texturing", tmp_path / "t", 30)
        assert max(e.inputs[1].size[0] for e in made if e.inputs[1]) <= 9


def test_given_textures_the_target_is_the_object(tmp_path: Path):
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "teal.png")
    told = RecipeSettings(textures=(tmp_path / "teal.png",))
    for made in examples("texturing", write_texturing(tmp_path / "t", 1), 8, told):
        assert same(made.target, made.inputs[0])
        assert same(made.inputs[1], Image.new("RGB", (8, 8), "teal"))


def test_a_scene_is_its_object_on_white_or_elsewhere_and_the_scene_without_it(tmp_path: Path):
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "teal.png")
    told = RecipeSettings(backgrounds=(tmp_path / "teal.png",))
    folder = write_scenes(tmp_path / "s", 1)
    made = examples("scene", folder, 400, told)
    corners = [e.inputs[0].getpixel((0, 0)) for e in made if e.inputs[0]]
    assert set(corners) == {(255, 255, 255), (0, 128, 128)}
    assert within(corners.count((0, 128, 128)), 400, 0.5)
    for example in made[:5]:
        assert example.inputs[0].getpixel((24, 20)) == COLOURS[0]
        assert same(example.inputs[1], Image.open(folder / "mug_0_inpainted.png"))
    alone = examples("scene", folder, 20)
    assert {e.inputs[0].getpixel((0, 0)) for e in alone} == {(255, 255, 255)}


def test_the_objects_of_a_union_come_in_either_order(tmp_path: Path):
    made = examples("union", write_unions(tmp_path / "u", 1), 400)

    def most(image: Image.Image | None) -> tuple[int, ...]:
        assert image is not None
        return max(image.getcolors(99999), key=lambda c: (c[1] != (255, 255, 255), c[0]))[1]

    orders = [tuple(most(i) for i in e.inputs) for e in made]
    assert set(orders) == {(COLOURS[0], COLOURS[1]), (COLOURS[1], COLOURS[0])}
    assert within(orders.count((COLOURS[0], COLOURS[1])), 400, 0.5)


def test_instruct_is_drawn_to_an_adjective_or_a_kind_of_art_and_told_the_word_alone(
    tmp_path: Path,
):
    told = RecipeSettings(adjectives=("shiny",), art_types=("cartoon",))
    made = examples("instruct", write_pictures(tmp_path / "i", 1), 400, told)
    assert {(e.text, e.target_text) for e in made} == {
        ("shiny", "A shiny mug on the beach"),
        ("cartoon", "A cartoon of a mug on the beach"),
    }
    assert within(sum(e.text == "shiny" for e in made), 400, 0.5)
    assert all(e.target is e.inputs[0] for e in made)


def test_every_garment_is_in_its_own_slot_and_the_rest_are_null(tmp_path: Path):
    write_persons(tmp_path / "c", 2)
    records = RECIPES["clothes"].read(str(tmp_path / "c"))
    worn = [
        {
            slot
            for slot, given in zip(
                GARMENTS, RECIPES["clothes"].make(r, Random(0), Reader(SMALL)).inputs, strict=True
            )
            if given is not None
        }
        for r in records
    ]
    assert worn == [{"hat", "bag"}, {"hat", "bag", "skirt"}]


def test_a_garment_that_is_too_small_is_a_null_input_and_shifts_no_other(tmp_path: Path):
    write_persons(tmp_path / "c", 2)
    record = RECIPES["clothes"].read(str(tmp_path / "c"))[1]

    def slots(side: int, area: int) -> list[str]:
        reader = Reader(RecipeSettings(garment_side=side, garment_area=area))
        made = RECIPES["clothes"].make(record, Random(0), reader)
        return [slot for slot, given in zip(GARMENTS, made.inputs, strict=True) if given]

    assert slots(11, 20) == ["skirt"]  # the hat is 10 pixels high, the bag 10 wide
    assert slots(6, 190) == ["hat", "skirt"]  # the bag has 160 pixels
    with pytest.raises(InputError, match="person_1: none of its garments is large enough"):
        slots(60, 1800)


def test_a_person_is_padded_to_a_square(tmp_path: Path):
    (made,) = examples("clothes", write_persons(tmp_path / "c", 1), 1)
    assert made.target.size == (60, 60)
    assert made.target.getpixel((0, 0)) == (255, 255, 255)


def test_persons_are_read_from_the_package_datasets_alike(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    people = [person(n) for n in range(3)]
    rows = {
        "image": [image for image, _ in people],
        "mask": [Image.fromarray(labels) for _, labels in people],
    }
    kinds = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    saved = datasets.Dataset.from_dict(rows, features=kinds)
    saved.save_to_disk(str(tmp_path / "hub"))
    found = RECIPES["clothes"].read(str(tmp_path / "hub"))
    own = RECIPES["clothes"].read(str(write_persons(tmp_path / "own", 3)))
    for a, b in zip(found, own, strict=True):
        (image, labels), (other, others) = a.open(), b.open()
        assert same(image, other) and (labels == others).all()


def test_without_the_package_datasets_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=re.escape(install_hint("train"))):
        RECIPES["clothes"].read(persons.ATR)


# --- what is broken --------------------------------------------------------------------------


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    ("mode", "harm", "said"),
    [
        ("texturing", lambda f: (f / "mug_000" / "mask.png").unlink(), r"mask\.png"),
        (
            "texturing",
            lambda f: (f / "mug_000" / "box.json").write_text("[1, 2"),
            r"box\.json: is damaged or is not JSON",
        ),
        ("texturing", lambda f: (f / "mug_000" / "box.json").write_text("[9, 9, 9, 9]"), "empty"),
        ("scene", lambda f: _cut(f / "mug_0_inpainted.npy"), "as an array"),
        ("scene", lambda f: np.save(f / "mug_0_inpainted.npy", np.ones((4, 4))), "is not a mask"),
        ("scene", lambda f: np.save(f / "mug_0_inpainted.npy", np.zeros((48, 48))), "is empty"),
        ("scene", lambda f: (f / "mug_0_inpainted.png").unlink(), r"mug_0_inpainted"),
        ("union", lambda f: (f / "pair_0_OBJ_1.png").unlink(), r"pair_0_OBJ_1\.png"),
        ("instruct", lambda f: _cut(f / "mug_on-the-beach_0.png"), "is not a picture"),
        ("clothes", lambda f: _cut(f / "person_0_mask.png"), "is not a map of labels"),
        ("clothes", lambda f: (f / "person_0_mask.png").unlink(), r"person_0_mask\.png"),
        (
            "clothes",
            lambda f: Image.new("L", (4, 4)).save(f / "person_0_mask.png"),
            "is not a map of labels",
        ),
        ("clothes", lambda f: Image.new("L", (40, 60), 99).save(f / "person_0_mask.png"), "99"),
    ],
)
def test_a_broken_record_is_named_with_its_reason(
    mode: str, harm: Callable[[Path], object], said: str, tmp_path: Path
):
    folder = WRITERS[mode](tmp_path / mode, 1)
    harm(folder)
    with pytest.raises(InputError, match=said):
        examples(mode, folder, 1)


def test_a_texturing_folder_without_variants_is_broken(tmp_path: Path):
    folder = write_texturing(tmp_path / "t", 1)
    for path in (folder / "mug_000").glob("colour-*"):
        path.unlink()
    with pytest.raises(InputError, match="no variant"):
        examples("texturing", folder, 1)


# --- dropping --------------------------------------------------------------------------------

DRAWS = 4000


def _full(operator: Operator) -> Example:
    dot = Image.new("RGB", (1, 1))
    return Example(dot, (dot,) * len(operator.inputs), "shiny" if operator.takes_text else None)


@pytest.mark.parametrize("name", OPERATORS)
def test_conditions_are_dropped_as_often_as_the_operator_says(name: str):
    operator = OPERATORS[name]
    made = [drop(_full(operator), operator, Random(f"{name}/{n}")) for n in range(DRAWS)]
    chance = 1 - (1 - operator.drop_each) * (1 - operator.drop_all)
    for slot in range(len(operator.inputs)):
        assert within(sum(e.inputs[slot] is None for e in made), DRAWS, chance)
    together = [all(i is None for i in e.inputs) for e in made]
    alone = operator.drop_each ** len(operator.inputs)
    assert within(sum(together), DRAWS, 1 - (1 - alone) * (1 - operator.drop_all))
    if operator.takes_text:
        assert [e.text_dropped for e in made] == together
        assert {e.text for e in made} == {"shiny"}


@pytest.mark.parametrize(
    ("mode", "share", "chances"),
    [("texturing", 0.2, (0.5, 1.0)), ("union", 0.1, (1.0, 1.0)), ("scene", 0.1, (1.0, 1.0))],
)
def test_random_pictures_take_their_published_share(
    mode: str, share: float, chances: tuple[float, ...], tmp_path: Path
):
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "teal.png")
    told = RecipeSettings(randoms=(tmp_path / "teal.png",))
    record = RECIPES[mode].read(str(WRITERS[mode](tmp_path / mode, 1)))[0]
    reader = Reader(told)
    made = [
        make_example(RECIPES[mode], OPERATORS[mode], record, Random(f"{n}"), reader)
        for n in range(1500)
    ]
    randoms = [e for e in made if e.target.size == (8, 8)]
    assert within(len(randoms), 1500, share)
    for slot, chance in enumerate(chances):
        assert within(sum(e.inputs[slot] is None for e in randoms), len(randoms), chance)
        assert all(e.inputs[slot] in (None, e.target) for e in randoms)


def test_without_random_pictures_there_are_none(tmp_path: Path):
    record = RECIPES["union"].read(str(write_unions(tmp_path / "u", 1)))[0]
    made = make_example(RECIPES["union"], OPERATORS["union"], record, Random(0), Reader(SMALL))
    assert made.target.size == (48, 48)


# --- one's own -------------------------------------------------------------------------------

OWN = """
from pops.data.recipes import Example, Recipe
from pops.data.records.layouts import read_pictures
from pops.operators import Operator

OPERATOR = Operator("faded", ("object",), drop_all=0.5)

def make(record, rng, reader):
    picture = reader.picture(record.picture)
    return Example(picture.convert("L").convert("RGB"), (picture,))

RECIPE = Recipe("faded", read_pictures, make)
"""


def test_a_recipe_of_ones_own_comes_from_a_file(tmp_path: Path):
    (tmp_path / "faded.py").write_text(OWN)
    operator, recipe = find_recipe("texturing", tmp_path / "faded.py")
    assert operator.name == recipe.name == "faded"
    record = recipe.read(str(write_pictures(tmp_path / "i", 1)))[0]
    made = [make_example(recipe, operator, record, Random(n), Reader(SMALL)) for n in range(8)]
    assert {e.inputs[0] is None for e in made} == {True, False}


def test_a_file_that_defines_no_operator_is_refused(tmp_path: Path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match="must define OPERATOR"):
        find_recipe("texturing", tmp_path / "empty.py")
    with pytest.raises(UsageError, match="takes a Python file"):
        find_recipe("texturing", tmp_path / "absent.py")


def test_the_published_name_of_a_mode_is_known_and_a_wrong_one_is_not():
    assert find_recipe("texture")[0] is TEXTURING
    with pytest.raises(UsageError, match="did you mean scene"):
        find_recipe("scenes")
