"""Plans: folders spread, equal parts are one, operators do all they can at once."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops import (
    Sweep,
    clothes,
    instruct,
    mean,
    mix,
    scene,
    slerp,
    text,
    texturing,
    union,
)
from pops.compose.nodes import Leaf, Node
from pops.compose.parse import parse
from pops.compose.plan import Plan, is_range, make_plan, open_leaf
from pops.errors import InputError, UsageError

A, B, C, D = (Image.new("RGB", (8, 8), name) for name in ("red", "green", "blue", "white"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two pictures and an embedding, among things that are neither."""
    place = tmp_path / "objects"
    (place / "deeper.png").mkdir(parents=True)
    A.save(place / "mug.png")
    B.save(place / "Car.JPG")
    (place / "hat.safetensors").touch()
    (place / ".hidden.png").touch()
    (place / "notes.txt").touch()
    return place


def order(composition: Node) -> list[tuple[str | None, int]]:
    return [(step.operator, len(step.nodes)) for step in make_plan(composition).steps]


# Order


def test_equal_parts_are_planned_once() -> None:
    plan = make_plan(union(scene(texturing(A, B), C), scene(texturing(A, B), D)))
    assert len(plan.leaves) == 4
    assert order(plan.composition) == [("texturing", 1), ("scene", 2), ("union", 1)]


def test_an_operator_does_all_that_is_ready_at_once_level_by_level() -> None:
    made = texturing(texturing(A, texturing(B, C)), texturing(C, D))
    assert order(made) == [("texturing", 2), ("texturing", 1), ("texturing", 1)]


def test_an_operator_waits_for_what_feeds_it_so_that_it_is_loaded_once() -> None:
    made = union(texturing(A, B), texturing(scene(C, D), B))
    assert order(made) == [("scene", 1), ("texturing", 2), ("union", 1)]
    through_a_mean = union(texturing(A, B), texturing(mean(scene(C, D), A), B))
    kinds = [kind for kind, _ in order(through_a_mean)]
    assert kinds == ["scene", None, "texturing", "union"]


def test_operators_that_feed_each_other_take_turns() -> None:
    made = texturing(scene(texturing(A, B), C), D)
    assert order(made) == [("texturing", 1), ("scene", 1), ("texturing", 1)]


def test_a_source_alone_needs_no_step() -> None:
    assert make_plan(Leaf(A)).steps == ()
    assert make_plan(Leaf(A)).nodes == (Leaf(A),)


@st.composite
def programs(draw: st.DrawFn) -> Node:
    nodes: list[Node] = [Leaf(A), Leaf(B), Leaf(C)]
    for _ in range(draw(st.integers(0, 9))):
        a, b = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        make = draw(st.sampled_from([texturing, scene, union, mean, clothes, slerp, mix]))
        strength = {"strength": 0.5} if make in (texturing, scene) and draw(st.booleans()) else {}
        nodes.append(make(a, b, **strength))
        if draw(st.booleans()):
            nodes.append(text(draw(st.sampled_from(["a cup", "red"]))))
    return nodes[-1]


@settings(deadline=None)
@given(programs())
def test_every_part_is_made_once_and_after_what_it_is_made_of(program: Node) -> None:
    plan = make_plan(program)
    known: set[Node] = set(plan.leaves)
    for step in plan.steps:
        for node in step.nodes:
            assert node not in known
            assert all(made in known for made in node.needs)
        known |= set(step.nodes)
    assert known == set(plan.nodes) and program in known


# Folders


def test_a_folder_spreads_into_its_files_by_name(folder: Path) -> None:
    plan = make_plan(scene(folder, A))
    names = ["Car.JPG", "hat.safetensors", "mug.png"]
    assert [leaf.source for leaf in plan.axes[0]] == [folder / name for name in names]
    assert plan.results == tuple(scene(folder / name, A) for name in names)


def test_folders_make_a_grid_at_any_depth_the_last_fastest(folder: Path) -> None:
    plan = make_plan(instruct(scene(texturing(folder, A), mean(B, folder)), "shiny"))
    assert [len(axis) for axis in plan.axes] == [3, 3]
    files = [leaf.source for leaf in plan.axes[0]]
    wanted = [instruct(scene(texturing(a, A), mean(B, b)), "shiny") for a in files for b in files]
    assert plan.results == tuple(wanted)
    assert len(plan.leaves) == 5
    assert [(step.operator, len(step.nodes)) for step in plan.steps] == [
        (None, 3),
        ("texturing", 3),
        ("scene", 9),
        ("instruct", 9),
    ]


def test_a_range_spreads_into_its_values_as_a_folder_does(folder: Path) -> None:
    made = slerp(texturing(folder, A, strength=Sweep(0, 1, 3)), B, Sweep(0.2, 0.8, 2))
    plan = make_plan(made)
    assert [len(axis) for axis in plan.axes] == [3, 3, 2]
    assert [is_range(axis) for axis in plan.axes] == [False, True, True]
    assert list(map(str, plan.axes[1])) == ["strength 0", "strength 0.5", "strength 1"]
    assert list(map(str, plan.axes[2])) == ["t 0.2", "t 0.8"]
    names = ("Car.JPG", "hat.safetensors", "mug.png")
    wanted = [
        slerp(texturing(folder / name, A, strength=strength), B, t)
        for name in names
        for strength in (0, 0.5, 1)
        for t in (0.2, 0.8)
    ]
    assert plan.results == tuple(wanted)
    assert [(step.operator, len(step.nodes)) for step in plan.steps] == [
        ("texturing", 3),  # whatever the strength
        (None, 12),  # those of less strength, and what is made of the whole ones
        (None, 12),
    ]


def test_ranges_may_stand_among_weights_and_in_texts() -> None:
    plan = make_plan(mix(A, text("a", guidance=Sweep(1, 4, 2)), weights=[1, Sweep(0, 1, 2)]))
    assert [list(map(str, axis)) for axis in plan.axes] == [
        ["guidance 1", "guidance 4"],
        ["weights 2 0", "weights 2 1"],
    ]
    assert plan.results[1] == mix(A, text("a", guidance=1), weights=[1, 1])
    assert [step.kind and step.kind[1] for step in plan.steps] == ["text", None]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 50))
def test_a_range_has_both_ends_and_even_steps(start: float, stop: float, count: int) -> None:
    if start == stop:
        return
    values = Sweep(start, stop, count).values
    assert (len(values), values[0], values[-1]) == (count, start, stop)
    step = (stop - start) / (count - 1)
    assert all(
        value == pytest.approx(start + at * step, rel=1e-9, abs=max(abs(step) * 1e-3, 1e-9))
        for at, value in enumerate(values)
    )
    assert Sweep(0, 1, 11).values[3] == 0.3  # without the digits that dividing leaves
    assert Sweep(0, 1, 4).values == (0.0, 0.3333, 0.6667, 1.0)


def test_ranges_that_are_too_many_are_refused() -> None:
    with pytest.raises(UsageError, match="folders and ranges make 1000 x 1000 results"):
        make_plan(slerp(A, slerp(A, B, Sweep(0, 1, 1000)), Sweep(0, 1, 1000)))


def test_files_that_are_not_accepted_are_left_out(folder: Path) -> None:
    plan = make_plan(scene(folder, None), lambda leaf: Path(str(leaf.source)).stem != "Car")
    assert [Path(str(leaf.source)).stem for leaf in plan.axes[0]] == ["hat", "mug"]


def refusal(text: str, kind: type[Exception] = InputError) -> list[str]:
    with pytest.raises(kind) as caught:
        make_plan(text)
    return str(caught.value).split("\n")


def test_a_folder_of_nothing_is_named_with_its_place(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    said, line, caret = refusal(f"scene('{tmp_path}/empty', _)")
    assert "holds no picture or embedding" in said
    assert line[caret.index("^") :].startswith("'")
    with pytest.raises(InputError, match="none of its files can be used"):
        make_plan(scene(folder, None), lambda leaf: False)


def test_a_missing_file_is_named_with_its_place(folder: Path) -> None:
    said, line, caret = refusal(f"scene(texturing('{folder}/mug.png', '{folder}/mugg.png'), _)")
    assert said.startswith("no such file:") and "did you mean mug.png?" in said
    before = line[: caret.index("^")]
    assert "mugg.png" not in before and before.count("mug.png") <= 1


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "\udc80", "\udfff.png"])
def test_a_name_that_no_file_can_have_is_one_error(name: str) -> None:
    assert len(refusal(f"scene({name!r}, _)")) == 3


def test_a_missing_file_given_in_python_has_no_place() -> None:
    with pytest.raises(InputError) as caught:
        make_plan(scene("nowhere.png", None))
    assert "\n" not in str(caught.value)


def test_a_grid_beyond_measure_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pops.compose.plan.MOST_RESULTS", 8)
    text = f"scene('{folder}', '{folder}')"
    (said,) = refusal(text, UsageError)
    assert "3 x 3 results, more than 8" in said


# Previews


def test_a_leaf_is_shown_small_and_an_embedding_not_at_all(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000)).save(tmp_path / "large.png")
    shown = open_leaf(Leaf(tmp_path / "large.png"))
    assert shown is not None and max(shown.size) <= 512
    assert open_leaf(Leaf(tmp_path / "a.safetensors")) is None
    whole = Image.new("RGB", (3000, 1000))
    assert open_leaf(Leaf(whole)) is not whole and whole.size == (3000, 1000)


def test_a_damaged_picture_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("text")
    plan: Plan = make_plan(parse(f"scene('{tmp_path}/bad.png', _)"))
    with pytest.raises(InputError) as caught:
        open_leaf(plan.leaves[0])
    said, line, caret = str(caught.value).split("\n")
    assert "is not a picture" in said and line[caret.index("^")] == "'"
