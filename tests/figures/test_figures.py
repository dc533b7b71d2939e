"""Figures hold every picture and every letter of every caption."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from pops.errors import UsageError
from pops.figures import WIDEST, Branch, Cell, grid, save_animation, strips, tree, wrap
from pops.figures.drawing import MARGIN

RED = Image.new("RGB", (64, 64), (220, 20, 30))
BLUE = Image.new("RGB", (64, 64), (20, 30, 220))
GREEN = Image.new("RGB", (64, 64), (20, 160, 60))


def ink(page: Image.Image) -> np.ndarray:
    return np.asarray(page).min(axis=2) < 250


def margins_are_clear(page: Image.Image, margin: int = 31) -> bool:
    dark = ink(page)
    edges = (dark[:margin], dark[-margin:], dark[:, :margin], dark[:, -margin:])
    return not any(edge.any() for edge in edges)


@given(st.text(st.sampled_from("abcW il_-./ "), max_size=200), st.integers(20, 224))
def test_no_letter_is_lost_and_no_line_is_too_wide(text: str, width: int) -> None:
    font = ImageFont.load_default(17)
    lines = wrap(text, font, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(font.getlength(line) <= width for line in lines)


def test_lines_break_at_spaces_and_marks_before_inside_words() -> None:
    font = ImageFont.load_default(13)
    width = font.getlength("long_file_")
    assert wrap("long_file_name", font, width) == ["long_file_", "name"]
    assert wrap("two words", font, font.getlength("words ")) == ["two", "words"]


@pytest.mark.parametrize("caption", ["W" * 120, "été 杯 — → ×", "a_b-c " * 40, ""])
def test_a_caption_stays_inside_the_page(caption: str) -> None:
    page = strips([[Cell(RED, caption, "object"), Cell(BLUE, caption, sign="plus")]], size=128)
    assert margins_are_clear(page)
    assert margins_are_clear(grid([[RED]], [caption], [caption], size=96))


def test_a_longer_caption_makes_the_page_higher_not_wider() -> None:
    short, long = (strips([[Cell(RED, "m" * n)]]) for n in (3, 300))
    assert long.width == short.width
    assert long.height > short.height


def test_a_strip_shows_its_pictures_in_order() -> None:
    page = strips([[Cell(RED, "a"), Cell(BLUE, "b", sign="plus")]], size=100)
    assert page.getpixel((32 + 50, 32 + 50)) == (220, 20, 30)
    assert page.getpixel((32 + 100 + 60 + 50, 32 + 50)) == (20, 30, 220)


def test_a_sign_is_drawn_between_its_cells() -> None:
    signed, plain = (
        strips([[Cell(RED), Cell(RED, sign=sign), Cell(RED)]], 100) for sign in ("arrow", None)
    )
    between = np.s_[32:132, 32 + 100 : 32 + 160]
    assert ink(signed)[between].any()
    assert signed.width > plain.width


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (1, 500), (2000, 1000)])
def test_a_picture_keeps_its_shape(shape: tuple[int, int]) -> None:
    page = strips([[Cell(Image.new("RGB", shape, (220, 20, 30)))]], size=160)
    dark = ink(page)
    height, width = dark.any(axis=1).sum(), dark.any(axis=0).sum()
    assert max(height, width) == 160
    assert abs(width / height - shape[0] / shape[1]) <= 0.1 * shape[0] / shape[1] or 1 in shape


def test_a_small_picture_is_enlarged_without_blocks() -> None:
    ramp = Image.linear_gradient("L").resize((64, 64))
    column = np.asarray(strips([[Cell(ramp)]], size=256).convert("L"))[40:280, 160].astype(int)
    assert np.abs(np.diff(column)).max() <= 3


def test_words_stand_in_a_frame_in_place_of_a_picture() -> None:
    blank, page = (strips([[Cell(words, "input")]], size=100) for words in ("", "left out"))
    assert page.getpixel((40, 60)) == (246, 246, 246)
    frame = (33, 33, 131, 131)
    assert page.crop(frame).tobytes() != blank.crop(frame).tobytes()


def test_a_grid_puts_every_picture_in_its_row_and_column() -> None:
    heads = [Cell(RED, "a"), Cell(RED, "b")]
    page = np.asarray(grid([[RED, BLUE], [BLUE, RED]], heads, heads, size=50))
    blue = (page == (20, 30, 220)).all(axis=2)
    across, down = page.shape[1] * 2 // 3, page.shape[0] * 5 // 8
    assert blue[:down, across:].any() and blue[down:, :across].any()
    assert not blue[:down, :across].any() and not blue[down:, across:].any()


def branch(image: Image.Image | str, *inputs: Branch, note: str = "") -> Branch:
    return Branch(Cell(image, "", note), "made by" if inputs else "", inputs)


def spots(page: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Across and down, where a page is of that colour: (2, N)."""
    return np.array(np.nonzero((np.asarray(page) == colour).all(axis=2)))[::-1]


def test_a_tree_has_its_inputs_left_of_what_they_made() -> None:
    page = tree(branch(RED, branch(GREEN, branch(BLUE), branch(BLUE)), branch(BLUE)), size=64)
    pictures = ((220, 20, 30), (20, 160, 60), (20, 30, 220))
    red, green, blue = (spots(page, colour) for colour in pictures)
    assert blue[0].min() < green[0].min() and green[0].max() < red[0].min()
    assert blue[0].max() > green[0].min()  # the last input stands beside the first, below it
    assert np.ptp(red[0]) > 1.3 * np.ptp(green[0])  # the last result is larger


@settings(deadline=None, max_examples=12)
@given(st.recursive(st.none(), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=9))
def test_no_picture_of_a_tree_is_covered(shape: Any) -> None:
    colours = (tuple((i // 9**k) % 9 * 20 + 40 for k in range(3)) for i in range(1, 700))
    used = []

    def grown(inner: Any) -> Branch:
        used.append(next(colours))
        picture = Image.new("RGB", (32, 32), used[-1])
        return branch(picture, *map(grown, inner or []), note="two words")

    page = tree(grown(shape), size=32)
    assert margins_are_clear(page)
    for colour in used:
        assert spots(page, colour).shape[1] > 0.8 * 32 * 32


@pytest.mark.parametrize("caption", ["W" * 120, "été 杯 — → ×", "a_b-c " * 40, ""])
def test_the_captions_of_a_tree_stay_inside_the_page(caption: str) -> None:
    leaf, words = Branch(Cell(RED, caption, caption)), Branch(Cell(caption, caption, caption))
    for inputs in ((leaf,), (words,), (words, leaf), (leaf,) * 12):
        page = tree(Branch(Cell(BLUE, caption, caption), "operator", inputs), size=64)
        assert margins_are_clear(page)


def test_a_tree_of_one_picture_is_that_picture() -> None:
    page = tree(branch(RED), size=64)
    assert page.size == (96 + 64, 96 + 64)


def test_what_made_a_result_is_written_between() -> None:
    long, short = (
        tree(Branch(Cell(RED), name, (branch(BLUE),)), 64) for name in ("a longer name", "a")
    )
    assert long.width > short.width and long.height == short.height


def test_words_take_less_room_in_a_tree_than_a_picture() -> None:
    words, picture = (tree(branch(RED, *[branch(image)] * 4), size=64) for image in ("shiny", BLUE))
    assert words.height < picture.height


def test_a_figure_is_the_same_every_time() -> None:
    rows = [[Cell(RED, "mug", "object"), Cell("left out", sign="plus"), Cell(BLUE, sign="arrow")]]
    assert strips(rows).tobytes() == strips(rows).tobytes()


def test_a_strip_that_is_too_wide_goes_on_below_its_results() -> None:
    shades = [Image.new("RGB", (40, 40), (0, 10 * at, 90)) for at in range(20)]
    given = [Cell(shades[0]), Cell(shades[1], sign="plus")]
    made = [Cell(shade, sign=None if at else "arrow") for at, shade in enumerate(shades[2:])]
    page = strips([[*given, *made]])
    assert page.width <= WIDEST + 2 * MARGIN
    lefts = {}
    for at, shade in enumerate(shades):
        colour = shade.getpixel((0, 0))
        ys, xs = np.nonzero((np.asarray(page) == colour).all(axis=2))
        assert len(xs), at  # every picture is there
        lefts[at] = (xs.min(), ys.min())
    tops = sorted({top // 20 for _, top in lefts.values()})
    assert len(tops) == 3
    assert min(left for left, top in lefts.values() if top // 20 > tops[0]) == lefts[2][0]


def test_columns_of_a_grid_that_is_too_wide_go_on_below_beside_their_rows() -> None:
    shades = [[Image.new("RGB", (40, 40), (90 * r, 10 * c, 90)) for c in range(12)] for r in (0, 1)]
    heads = [Cell(RED, "mug"), Cell(RED, "car")]
    seeds = [f"seed {at}" for at in range(12)]
    page = grid(shades, heads, seeds, size=192, title="a title", widest=WIDEST)
    assert page.width <= WIDEST + 2 * MARGIN < grid(shades, heads, seeds, size=192).width
    first = {}
    for row in shades:
        for at, shade in enumerate(row):
            ys, xs = np.nonzero((np.asarray(page) == shade.getpixel((0, 0))).all(axis=2))
            assert len(xs), at  # every picture is there
            first.setdefault(at, []).append((int(xs.min()), int(ys.min())))
    fits = next(at for at in range(1, 12) if first[at][0][0] == first[0][0][0])
    assert all(first[at][0][0] == first[at - fits][0][0] for at in range(fits, 12))
    assert first[0][0][1] < first[0][1][1] < first[fits][0][1] < first[fits][1][1]
    labels = spots(page, (220, 20, 30))
    assert labels[1].max() > first[fits][1][1]  # the rows are labelled again


def test_a_title_stands_above_and_makes_a_page_no_wider() -> None:
    row = [Cell(Image.new("RGB", (40, 40), "red"))] * 3
    words = "texturing('mug.png', 'wood.png', strength=0..1:6) " * 3
    assert strips([row], title=words).width == strips([row]).width
    assert strips([row], title=words).height > strips([row]).height
    rows, labels = [[row[0].image] * 3], ["a", "b", "c"]
    assert grid(rows, ["x"], labels, title=words).height > grid(rows, ["x"], labels).height


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_a_moving_picture_goes_there_and_back(kind: str, tmp_path: Path) -> None:
    colours = enumerate(("red", "blue", "lime"))
    frames = [Image.new("RGB", (20, 10 + at), colour) for at, colour in colours]
    path = tmp_path / f"moving.{kind}"
    save_animation(frames, path)
    with Image.open(path) as moving:
        assert (moving.size, moving.n_frames) == ((20, 12), 4)
        seen = []
        for at in range(4):
            moving.seek(at)
            red, green, blue = moving.convert("RGB").getpixel((10, 4))
            seen.append(max((red, "red"), (green, "lime"), (blue, "blue"))[1])
    assert seen == ["red", "blue", "lime", "blue"]
    with pytest.raises(UsageError, match="webp or"):
        save_animation(frames, tmp_path / "moving.png")
