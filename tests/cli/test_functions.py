"""Texts, strengths, ranges and moving pictures on the command line."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from pops.engine import Engine
from pops.io.embeddings import Embeddings
from tests.cli.test_cli import Run, mug, run, tiny, wood

__all__ = ["mug", "run", "tiny", "wood"]  # fixtures

FAST = ("--steps", 2)


def test_apply_takes_texts_and_a_strength(run: Run, tiny: Path, mug: Path, tmp_path: Path) -> None:
    words = ("apply", "texturing", mug, "text:a shiny cat")
    where = ("--stack", tiny, "--seeds", "3..4", *FAST, "--out")
    for strength in (0, 0.5, 1):
        status, out, _ = run(*words, "--strength", strength, *where, tmp_path / f"out{strength}")
        assert status == 0 and "texturing_mug_a-shiny-cat" in out
    engine = Engine.load(tiny)
    made = {
        strength: Embeddings.load(
            tmp_path / f"out{strength}" / f"texturing_mug_a-shiny-cat{ending}_s4.safetensors"
        )
        for strength, ending in ((0, "_strength-0"), (0.5, "_strength-0.5"), (1, ""))
    }
    words_there = engine.text("a shiny cat", seeds=[4], steps=2)
    whole = engine.apply("texturing", [(mug, words_there)], seeds=[4], steps=2)
    torch.testing.assert_close(made[1].image_embeds, whole.image_embeds, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        made[0].image_embeds, engine.encode([mug]).image_embeds, rtol=0, atol=1e-4
    )
    assert "text('a shiny cat'), strength=0.5)" in made[0.5].expressions[0]


def test_an_input_by_name_may_be_a_text(run: Run, tiny: Path, mug: Path, tmp_path: Path) -> None:
    named = ("--object", mug, "--texture=text: wood ", "--stack", tiny, "--seeds", 1, *FAST)
    status, out, _ = run("apply", "texturing", *named, "--out", tmp_path / "out")
    assert status == 0 and "texturing_mug_wood.jpg" in out


def test_a_range_makes_a_strip_and_a_moving_picture_for_each_seed(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    text = f"texturing('{mug}', '{wood}', strength=0..1:3)"
    for kind in ("webp", "gif"):
        out = tmp_path / kind
        given = ("--stack", tiny, "--seeds", "1..2", *FAST, "--animate", kind, "--out", out)
        assert run("run", text, *given)[0] == 0
        name = "texturing_mug_wood_strength-0..1-3"
        assert (out / f"{name}.jpg").is_file()
        for seed in (1, 2):
            with Image.open(out / f"{name}_s{seed}.{kind}") as moving:
                assert moving.n_frames == 4  # there and back
        embeddings = {path.name for path in out.glob("*_s1.safetensors")}
        assert "texturing_mug_wood_strength-0.5_s1.safetensors" in embeddings
        assert "texturing_mug_wood_s1.safetensors" in embeddings


def test_two_ranges_make_a_grid(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    text = f"slerp(texturing('{mug}', '{wood}', strength=0..1:2), '{mug}', 0..1:3)"
    out = tmp_path / "out"
    given = ("--stack", tiny, "--seeds", 1, *FAST, "--animate", "webp", "--out", out)
    assert run("run", text, *given)[0] == 0
    assert len(list(out.glob("*.webp"))) == 2  # one for each strength
    assert len(list(out.glob("*.jpg"))) == 1


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("run", "text('red')", "--animate", "webp"), "--animate shows a range"),
        (("run", "text('red')", "--animate", "png"), "one of none, webp, gif"),
        (("run", "text('red')", "--seeds", "1.."), "whole numbers, as in 18,42 or 1..8"),
        (("run", "text('red')", "--seeds", "1..99999"), "whole numbers, as in 18,42 or 1..8"),
        (("apply", "texturing", "a.png", "text:red", "--strength", "2"), "from 0 to 1, not 2"),
    ],
)
def test_what_does_not_fit_is_one_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    status, _, err = run(*arguments)
    assert status == 2 and says in err
