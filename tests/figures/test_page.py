"""The page of a run: it holds everything, loads nothing, and runs nothing."""

import base64
import re
import shlex
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pops.cli.main import main
from pops.compat.config import InstructConfig
from pops.figures import Cell
from pops.figures.page import run_page
from pops.settings.commands import ApplyConfig, RunConfig
from pops.settings.flags.parsing import parse
from pops.settings.flags.spelling import spell_command

ROOT = Path(__file__).parents[2]
PICTURE = Image.new("RGB", (8, 8), (200, 30, 40))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_becomes_a_tag_or_an_address(title: str, caption: str) -> None:
    plain = run_page("", [PICTURE], [Cell(PICTURE, "", "")], "", {})
    page = run_page(title, [PICTURE], [Cell(PICTURE, caption, "")], caption, {title: caption})
    tags = [re.sub(r' alt="[^"]*"', "", tag) for tag in re.findall(r"<[^>]*>", page)]
    expected = re.findall(r"<[^>]*>", plain)
    assert len(tags) == len(expected) + 6  # those of the one setting
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:image/)', page)


def test_pictures_are_inside_the_page() -> None:
    page = run_page("title", [], [Cell(PICTURE, "a mug", "seed 1"), Cell("lost", "x")], "pops", {})
    (data,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    np.testing.assert_array_equal(Image.open(BytesIO(base64.b64decode(data))), PICTURE)
    assert "<figcaption>a mug seed 1</figcaption>" in page and "lost<figcaption>" in page


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1)


@given(words, st.lists(st.integers(0, 99), min_size=1, max_size=4), st.booleans())
def test_a_command_that_is_spelled_is_read_as_the_same_settings(
    composition: str, seeds: list[int], html: bool
) -> None:
    config = RunConfig(
        composition=composition, seeds=tuple(seeds), guidance=2.5, html=html, trees="none"
    )
    _, name, *arguments = shlex.split(spell_command("pops run", config))
    assert name == "run"
    assert parse("pops run", RunConfig, arguments) == config


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",))), min_size=1))
@example(["null"])
@example(["a,b", "c"])
@example(["[a]", " b", "", "'", '"', "on", "\u2028"])
def test_a_list_is_spelled_so_that_it_is_read_as_the_same_texts(texts: list[str]) -> None:
    config = InstructConfig(stack="pocket", texts=tuple(texts))
    _, *arguments = shlex.split(spell_command("infer", config))
    assert parse("infer", InstructConfig, arguments) == config


def test_inputs_by_slots_and_by_place_are_spelled() -> None:
    config = ApplyConfig(
        operator="clothes", inputs=("_", "-odd name.png"), slots={"bag": "my bag.png"}
    )
    spelled = spell_command("pops apply", config)
    assert spelled == "pops apply '--bag=my bag.png' -- clothes _ '-odd name.png'"
    assert parse("pops apply", ApplyConfig, shlex.split(spelled)[2:]) == config


def test_html_writes_a_page_that_names_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = ROOT / "tests" / "golden"
    stack = tmp_path / "tiny"
    stack.mkdir()
    for part, name in (("prior", "kandinsky-tiny-prior"), ("decoder", "kandinsky-tiny-decoder")):
        (stack / part).symlink_to(golden / name)
    (stack / "operators").symlink_to(golden / "operators")
    PICTURE.save(tmp_path / "a.png")
    text = f"texturing('{tmp_path / 'a.png'}', '{tmp_path / 'a.png'}')"
    few = ["--steps", "2", "--render_steps", "2", "--render_size", "32", "--seeds", "1,2"]
    assert main(["run", text, "--html", "--stack", str(stack), "--out", str(tmp_path), *few]) == 0
    (page,) = tmp_path.glob("*.html")
    content = unescape(page.read_text(encoding="utf-8"))
    assert content.count("data:image/") == 4  # two trees, two results
    assert "seed 2, render seed 0" in content and f"<h1>{text}</h1>" in content
    assert "--seeds=1,2" in content and "--html=true" in content
