"""Compositions run: every part once, the same alone and nested, for every seed; and their figures.

The golden case and the counting of work are in test_engine.py.
"""

from pathlib import Path

import pytest
import torch
from PIL import Image

from pops import Sweep, clothes, instruct, mean, scene, slerp, swap, text, texturing, union
from pops.compose.draw import draw_frames, draw_grids, draw_tree
from pops.compose.nodes import Leaf, Node
from pops.compose.plan import make_plan
from pops.compose.run import Result
from pops.engine import Engine
from pops.errors import InputError, UsageError
from pops.io.embeddings import Embeddings

RED, GREEN, BLUE = (Image.new("RGB", (16, 16), name) for name in ("red", "lime", "blue"))
STEPS = 2


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("objects")
    RED.save(place / "a.png")
    GREEN.save(place / "b.png")
    return place


@pytest.fixture(scope="module")
def result(engine: Engine, folder: Path) -> Result:
    made = scene(texturing(folder / "a.png", folder / "b.png"), BLUE)
    return engine.run(made, seeds=[18, 42], steps=STEPS)


def render(made: Embeddings) -> list[Image.Image]:
    """A plain square for each embedding, of a colour of its own."""
    colours = (made.image_embeds[:, :3] * 50 + 100).clamp(0, 255).int().tolist()
    return [Image.new("RGB", (32, 32), tuple(colour)) for colour in colours]


# Embeddings


def test_every_part_has_a_row_for_each_seed_and_a_source_has_one(
    result: Result, folder: Path
) -> None:
    inner = texturing(folder / "a.png", folder / "b.png")
    assert result[inner].seeds == result.embeddings.seeds == (18, 42)
    assert result[str(inner)].expressions == (str(inner),) * 2
    assert result[inner].guidance == 8.0 and result.embeddings.guidance == 1.0
    source = result[Leaf(folder / "a.png")]
    assert (len(source), source.seeds) == (1, ())
    assert len(result.parts) == 5 and all(part.stack == "pocket" for part in result.parts.values())
    with pytest.raises(KeyError):
        result["scene('elsewhere.png', _)"]


def test_a_part_comes_out_alone_as_it_does_nested(engine: Engine) -> None:
    parts: list[Node] = [texturing(RED, GREEN)]
    parts.append(instruct(parts[0], "shiny"))
    parts.append(clothes(parts[1], None, parts[0]))
    parts.append(mean(parts[2], parts[0], 0.3))
    whole = engine.run(union(parts[3], texturing(parts[1], BLUE)), seeds=[18, 42], steps=STEPS)
    for part in parts:
        alone = engine.run(part, seeds=[42], steps=STEPS).embeddings
        close(whole[part][1].image_embeds, alone.image_embeds)


def test_a_composition_gives_what_applying_by_hand_gives(engine: Engine) -> None:
    made = engine.run(scene(texturing(RED, GREEN), None), seeds=[7], steps=STEPS, guidance=2.0)
    settings = {"seeds": [7], "steps": STEPS, "guidance": 2.0}
    first = engine.apply("texturing", [(RED, GREEN)], **settings)
    close(
        made.embeddings.image_embeds,
        engine.apply("scene", [(first, None)], **settings).image_embeds,
    )


def test_the_weight_of_a_mean_is_that_of_its_second(engine: Engine) -> None:
    made = engine.run(mean(RED, GREEN, 0.3)).embeddings
    red, green = engine.encode([RED, GREEN]).image_embeds
    close(made.image_embeds, (0.7 * red + 0.3 * green)[None])
    assert made.seeds == ()
    close(engine.run(mean(RED, GREEN, 0.0)).embeddings.image_embeds, red[None])


def test_a_mean_with_an_operator_has_a_row_for_each_seed(engine: Engine) -> None:
    inner = texturing(RED, GREEN)
    made = engine.run(mean(RED, inner, 0.25), seeds=[1, 2], steps=STEPS)
    rows = engine.encode([RED]).image_embeds.lerp(made[inner].image_embeds, 0.25)
    close(made.embeddings.image_embeds, rows)
    assert made.embeddings.seeds == (1, 2)


def test_a_source_alone_is_a_composition(engine: Engine) -> None:
    close(engine.run(Leaf(RED)).embeddings.image_embeds, engine.encode([RED]).image_embeds)


def test_a_grid_has_its_results_in_order_and_what_each_gives_alone(
    engine: Engine, folder: Path
) -> None:
    grid = engine.run(union(folder, folder), seeds=[1, 2], steps=STEPS)
    names = ["a.png", "b.png"]
    alone = [union(folder / a, folder / b) for a in names for b in names]
    assert grid.embeddings.expressions == tuple(str(one) for one in alone for _ in range(2))
    assert grid.embeddings.seeds == (1, 2) * 4
    last = engine.run(alone[3], seeds=[2], steps=STEPS).embeddings
    close(grid.embeddings[7].image_embeds, last.image_embeds)


def test_what_does_not_fit_is_said_before_anything_is_loaded(folder: Path) -> None:
    engine = Engine.load("pocket", "cpu", prior="/nowhere", operators="/nowhere")
    with pytest.raises(UsageError, match="did you mean texturing"):
        engine.run("textring('a.png', 'b.png')")
    with pytest.raises(InputError, match="no such file"):
        engine.run("texturing('nowhere.png', _)")
    with pytest.raises(UsageError, match="unknown sampler"):
        engine.run(scene(RED, None), sampler="euler")
    with pytest.raises(UsageError, match="seeds is empty"):
        engine.run(scene(RED, None), seeds=[])


# Figures


def has(page: Image.Image, picture: Image.Image) -> bool:
    colour = picture.getpixel((0, 0))
    return colour in {colour for _, colour in page.getcolors(page.width * page.height) or []}


def test_a_tree_shows_every_part_for_its_seed(result: Result) -> None:
    for row in (0, 1):
        page = draw_tree(result, render, row=row)
        inner = result[result.plan.steps[0].nodes[0]][row]
        for shown in [RED, GREEN, BLUE, *render(inner), *render(result.embeddings[row])]:
            assert has(page, shown)
        assert not has(page, render(result.embeddings[1 - row])[0])


def test_a_tree_renders_what_is_not_there_yet_and_keeps_it(result: Result) -> None:
    asked: list[int] = []

    def counted(made: Embeddings) -> list[Image.Image]:
        asked.append(len(made))
        return render(made)

    shown = {(result.plan.results[0], 0): RED}
    page = draw_tree(result, counted, shown)
    assert asked == [1] and len(shown) == 5
    assert draw_tree(result, counted, shown).tobytes() == page.tobytes()
    assert asked == [1]


def test_an_input_that_is_an_embedding_is_rendered(engine: Engine) -> None:
    tensor = torch.ones(32)
    made = engine.run(scene(tensor, None), seeds=[1], steps=STEPS)
    assert has(draw_tree(made, render), render(Embeddings(tensor[None]))[0])


def test_slots_left_out_are_shown_unless_they_are_optional(engine: Engine) -> None:
    plain = engine.run(scene(RED, None), seeds=[1], steps=STEPS)
    with_a_gap = engine.run(clothes(RED, None, None, GREEN), seeds=[1], steps=STEPS)
    two = engine.run(clothes(RED, GREEN), seeds=[1], steps=STEPS)
    pale = Image.new("RGB", (1, 1), "#f6f6f6")
    assert has(draw_tree(plain, render), pale)
    assert draw_tree(with_a_gap, render).size == draw_tree(two, render).size


def test_a_tree_too_large_for_a_file_is_refused_and_a_large_one_is_drawn_smaller(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine.run(clothes(*[RED] * 12), seeds=[1], steps=STEPS)
    whole = draw_tree(made, render)
    monkeypatch.setattr("pops.compose.draw.LARGEST_SIDE", whole.height - 500)
    small = draw_tree(made, render)
    assert small.height <= whole.height - 500
    monkeypatch.setattr("pops.compose.draw.LARGEST_SIDE", 500)
    with pytest.raises(UsageError, match="too large"):
        draw_tree(made, render)


def grids(engine: Engine, program: Node, seeds: list[int]) -> dict[int | None, Image.Image]:
    made = engine.run(program, seeds=seeds, steps=STEPS)
    shown = dict(zip(made.keys, render(made.embeddings), strict=True))
    leaves = {(leaf, 0): BLUE for leaf in make_plan(program).leaves}
    return draw_grids(made, leaves | shown)


def test_one_folder_makes_a_table_with_a_column_a_seed(engine: Engine, folder: Path) -> None:
    (page,) = grids(engine, scene(folder, None), [1, 2, 3]).values()
    made = engine.run(scene(folder, None), seeds=[1, 2, 3], steps=STEPS)
    assert all(has(page, picture) for picture in render(made.embeddings))
    assert list(grids(engine, mean(folder, RED), [1, 2])) == [None]


def test_two_folders_make_a_table_for_each_seed(engine: Engine, folder: Path) -> None:
    tables = grids(engine, scene(folder, folder), [1, 2])
    assert list(tables) == [1, 2]
    made = engine.run(scene(folder, folder), seeds=[1, 2], steps=STEPS)
    for row, page in enumerate(tables.values()):
        assert all(has(page, picture) for picture in render(made.embeddings)[row::2])


def test_a_table_of_two_folders_goes_on_below_where_it_is_too_wide(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wide,) = grids(engine, scene(folder, folder), [1]).values()
    monkeypatch.setattr("pops.compose.draw.WIDEST", wide.width - 200)
    (page,) = grids(engine, scene(folder, folder), [1]).values()
    assert page.width < wide.width and page.height > 1.5 * wide.height
    made = engine.run(scene(folder, folder), seeds=[1], steps=STEPS)
    assert all(has(page, picture) for picture in render(made.embeddings))


def test_three_folders_make_a_row_for_each_pair_of_the_first(engine: Engine, folder: Path) -> None:
    (page,) = grids(engine, clothes(folder, folder, folder), [1]).values()
    (flat,) = grids(engine, clothes(folder, folder), [1]).values()
    assert page.width == flat.width and page.height > 1.5 * flat.height


def test_a_range_makes_a_strip_with_a_row_for_each_seed(engine: Engine) -> None:
    program = texturing(RED, GREEN, strength=Sweep(0, 1, 4))
    (page,) = grids(engine, program, [1, 2]).values()
    (single,) = grids(engine, program, [1]).values()
    assert page.width == single.width and page.height > 1.5 * single.height
    made = engine.run(program, seeds=[1, 2], steps=STEPS)
    assert all(has(page, picture) for picture in render(made.embeddings))


def test_two_ranges_make_a_table_for_each_seed(engine: Engine) -> None:
    program = slerp(texturing(RED, GREEN, strength=Sweep(0, 1, 2)), BLUE, Sweep(0, 1, 3))
    tables = grids(engine, program, [1, 2])
    assert list(tables) == [1, 2]
    made = engine.run(program, seeds=[1, 2], steps=STEPS)
    for row, page in enumerate(tables.values()):
        assert all(has(page, picture) for picture in render(made.embeddings)[row::2])


def test_frames_move_through_the_last_range(engine: Engine) -> None:
    program = slerp(texturing(RED, GREEN, strength=Sweep(0, 1, 2)), BLUE, Sweep(0, 1, 3))
    made = engine.run(program, seeds=[1, 2], steps=STEPS)
    shown = dict(zip(made.keys, render(made.embeddings), strict=True))
    frames = draw_frames(made, shown)
    assert sorted(frames) == [(0, 0), (0, 1), (3, 0), (3, 1)]
    pictures = [shown[made.plan.results[at], 1] for at in (3, 4, 5)]
    assert all(has(*both) for both in zip(frames[3, 1], pictures, strict=True))


def test_a_tree_shows_texts_and_what_functions_are_given(engine: Engine) -> None:
    word = text("a car", negative="red")
    made = engine.run(swap(RED, word, ["red", "blue", "wood", "ice"]), seeds=[1], steps=STEPS)
    page = draw_tree(made, render)
    plain = draw_tree(engine.run(mean(RED, GREEN), seeds=[1]), render)
    assert page.width > plain.width and page.height > plain.height
    assert has(page, render(made[word])[0]) and has(page, render(made.embeddings)[0])
