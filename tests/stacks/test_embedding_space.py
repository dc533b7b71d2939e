"""The page about an embedding space of one's own, followed line by line on tiny random models."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import tiny_unclip
from pops.cli import main as cli
from pops.engine import Engine
from pops.io.loading import quietly
from pops.render.stable_unclip import StableUnCLIPRenderer
from tests.data.tiny_data import COLOURS, disc, picture, write_texturing
from tests.test_pages import ROOT, blocks, run

PAGE = ROOT / "docs" / "extend" / "embedding-space.md"
NAMES = ("red", "green", "blue", "yellow", "purple")  # of COLOURS
TRAIN = "--device cpu --report_to none --num_workers 0 --log_every 20"
LESS = {
    "--lr 1e-4 --train_batch_size 256 --max_train_steps 200000": (
        f"--lr 3e-3 --train_batch_size 20 --max_train_steps 80 {TRAIN} --base_layers 2 "
        "--base_width 64"
    ),
    "--dataset_path data/texturing": (
        f"--dataset_path data/texturing {TRAIN} --max_train_steps 3 --train_batch_size 2"
    ),
    "--variants 1": "--variants 4 --device cpu --num_workers 0",
    "--out out/photos.index": "--out out/photos.index --device cpu --num_workers 0",
}
DRAWN = {"steps": 2, "size": 32}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """A folder in which all of the page was done."""
    home = tmp_path_factory.mktemp("followed")
    write_data(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        tokenizer = golden / "kandinsky-tiny-prior" / "tokenizer"
        with quietly():
            tiny_unclip.make_clip(home / "clip", tokenizer)
            for block in blocks(PAGE, "python"):
                run(block.replace("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "clip"), {})
        for block in blocks(PAGE, ""):
            for line in block.splitlines():
                follow(line, tokenizer)
    return home


def write_data(home: Path) -> None:
    """Discs in five colours, named by their captions, as photographs and as training data."""
    for folder in ("photos", "captioned"):
        (home / folder).mkdir()
    for seed in range(10):
        shown = picture(disc(), COLOURS[seed % 5], seed)
        shown.save(home / "photos" / f"{seed}.png")
        shown.save(home / "captioned" / f"{seed}.png")
        (home / "captioned" / f"{seed}.txt").write_text(f"a {NAMES[seed % 5]} mug\n")
    write_texturing(home / "data" / "texturing", 2)
    for seed, name in enumerate(("mug", "wood")):
        picture(disc(), COLOURS[seed], seed).save(home / f"{name}.png")


def follow(line: str, tokenizer: Path) -> None:
    """Do what a line of the page says, with less of everything."""
    if line.startswith("hf download"):
        with quietly():
            tiny_unclip.make_decoder(Path(line.split()[-1]), tokenizer)
    elif line.startswith("echo"):
        _, content, _, place = shlex.split(line)
        Path(place).write_text(json.dumps(json.loads(content) | DRAWN))
    elif line.startswith("cp -r"):
        *_, source, place = shlex.split(line)
        shutil.copytree(source, place, dirs_exist_ok=True)
    else:
        for more, less in LESS.items():
            line = line.replace(more, less)
        program, *words = shlex.split(line)
        assert program == "pops" and cli.main(words) == 0, line


@pytest.fixture(scope="module")
def own(followed: Path) -> Engine:
    return Engine.load(followed / "stacks" / "open-clip", "cpu")


def test_the_statistics_are_those_of_the_pictures(followed: Path, own: Engine) -> None:
    embeds = own.encode(sorted((followed / "photos").iterdir())).image_embeds
    stats = load_file(followed / "stacks" / "open-clip" / "prior" / "stats.safetensors")
    torch.testing.assert_close(stats["clip_mean"][0], embeds.mean(0), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(stats["clip_std"][0], embeds.std(0), atol=2e-3, rtol=2e-3)
    assert torch.equal(own.stack.clip_stats["clip_mean"], stats["clip_mean"])


def test_the_base_prior_has_learnt_which_text_is_which_picture(followed: Path, own: Engine) -> None:
    pictures = [picture(disc(), colour, 100 + at) for at, colour in enumerate(COLOURS)]
    shown = own.encode(pictures).image_embeds
    made = own.text([f"a {name} mug" for name in NAMES], seeds=[1], guidance=1.0).image_embeds
    mean, std = (own.stack.clip_stats[name] for name in ("clip_mean", "clip_std"))
    a, b = ((one - mean) / std for one in (made, shown))
    nearest = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1).argmax(1)
    assert (nearest == torch.arange(5)).sum() >= 4, nearest


def test_operators_are_trained_composed_and_drawn_by_the_stack_s_own_decoder(
    followed: Path, own: Engine
) -> None:
    assert isinstance(own.renderer(), StableUnCLIPRenderer)
    drawn = sorted(path.name for path in (followed / "out" / "run").glob("*.jpg"))
    assert any(re.search("texturing.*mug", name) for name in drawn), drawn
    assert any(name.startswith("text") for name in drawn), drawn
    made = own.apply("texturing", (followed / "mug.png", followed / "wood.png"), seeds=[1])
    (shown,) = own.render(made, seeds=[0])
    assert shown.size == (32, 32) and made.stack == "open-clip"


def test_new_statistics_are_refused_beside_a_base_prior(
    followed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(followed)
    stack = followed / "stacks" / "open-clip"
    assert cli.main(["stats", "out/photos.index", "--stack", str(stack)]) == 2
    assert "in its base prior" in capsys.readouterr().err
    shutil.copytree(stack / "prior", followed / "bare" / "prior")
    shutil.rmtree(followed / "bare" / "prior" / "prior")
    assert cli.main(["stats", "out/photos.index", "--stack", "bare"]) == 0
    before, after = stack / "prior", followed / "bare" / "prior"
    assert (before / "stats.safetensors").read_bytes() == (after / "stats.safetensors").read_bytes()


def test_a_run_goes_on_with_its_own_sizes_and_statistics_alone(
    followed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(followed)
    flags = ["--mode=base", "--stack=stacks/open-clip", "--cache=caches/base", "--device=cpu"]
    flags += ["--output_dir=runs/base", "--report_to=none", "--train_batch_size=20"]
    assert cli.main(["train", *flags, "--base_layers=2", "--base_width=128"]) == 2
    assert "was trained with base_width 64, not 128" in capsys.readouterr().err


def test_the_doctor_knows_the_parts(
    followed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(followed)
    cli.main(["doctor", "--stack=stacks/open-clip", "--step=false", "--json"])
    lines = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    for part in ("prior configs", "decoder configs"):
        assert "they fit the files" in lines[part]["says"], lines[part]
