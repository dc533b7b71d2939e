"""The pages of documentation: the commands that they show fit, and their code runs."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pops.cli import main as cli
from pops.datagen import generators
from pops.datagen.config import RandomConfig
from pops.datagen.run import generate
from pops.engine import Engine
from pops.prior.sampling import seeded_noise
from pops.prior.schedule import Schedule, betas
from pops.settings import rendering
from pops.settings.flags.parsing import parse

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in any of these languages."""
    for indent, language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """The commands of pops in the shell blocks of a page, each on one line, without comments."""
    for block in blocks(page, "", "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("pops ") and "..." not in line:
                yield re.sub(r"\s+#.*$", "", line)


def python(page: str, start: str) -> str:
    """The Python block of a page that begins so."""
    (found,) = [b for b in blocks(ROOT / page, "python") if b.startswith(start)]
    return found


def run(code: str, space: dict[str, Any]) -> dict[str, Any]:
    """Run a block in a namespace, without the `__future__` of this module."""
    exec(compile(code, "page", "exec", dont_inherit=True), space)
    return space


def test_the_pages_have_commands() -> None:
    assert len([c for page in PAGES for c in commands(page)]) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_fits(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where the settings files are that commands name
    for command in commands(page):
        _, *words = shlex.split(command)
        if "--help" in words or "--version" in words:
            continue
        name = next(n for n in (" ".join(words[:2]), words[0]) if n in cli.COMMANDS)
        rest = words[len(name.split()) :]
        rest = [word for word in rest if word != "--debug"]
        config = parse(f"pops {name}", cli.COMMANDS[name].config, rest)
        assert config is not None or {"--print_config", ">"} & set(rest), command


# The code of the pages under Extend


def test_the_renderer_of_the_page_is_used_by_its_name() -> None:
    space: dict[str, Any] = {}
    before = dict(rendering.RENDERERS)
    try:
        for block in blocks(ROOT / "docs/extend/renderer.md", "python"):
            run(block, space)
        engine = Engine.load("pocket", "cpu")
        embeddings = engine.encode(
            [ROOT / "assets/objects/mug.png", ROOT / "assets/objects/car.png"]
        )
        first, second = engine.render(embeddings, seeds=[0], renderer="colour")
    finally:
        rendering.RENDERERS.clear()
        rendering.RENDERERS.update(before)
    assert first.size == (64, 64) and np.asarray(first).std(axis=(0, 1)).max() == 0
    assert first.getpixel((0, 0)) != second.getpixel((0, 0))


def test_the_sampler_of_the_page_gives_what_a_perfect_denoiser_knows() -> None:
    space: dict[str, Any] = {}
    run(python("docs/extend/sampler.md", "import torch"), space)
    target = torch.rand(3, 8) - 0.5
    made = space["sample_halfway"](
        lambda x, t: target, seeded_noise([1, 2, 3], 8), Schedule(betas()), 25
    )
    torch.testing.assert_close(made, target)


def test_the_command_of_the_page_mirrors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    preamble = """
from dataclasses import dataclass
from pathlib import Path
from PIL import ImageOps
from pops.errors import UsageError
from pops.io.pictures import open_picture, save_picture
from pops.settings.fields import argument, setting
"""
    space: dict[str, Any] = {"__name__": "page"}
    for block in (preamble, *blocks(ROOT / "docs/extend/command.md", "python")):
        if not block.startswith('"mirror"'):
            run(block, space)
    module = ModuleType("mirror")
    vars(module).update(space)
    monkeypatch.setitem(sys.modules, "mirror", module)
    command = cli.Command(space["MirrorConfig"], "mirror")
    monkeypatch.setitem(cli.COMMANDS, "mirror", command)
    mug, out = ROOT / "assets/objects/mug.png", tmp_path / "mirrored.png"
    assert cli.main(["mirror", str(mug), f"--out={out}"]) == 0
    with Image.open(mug) as given, Image.open(out) as made:
        assert np.array_equal(np.asarray(given)[:, ::-1], np.asarray(made))
    assert cli.main(["mirror", str(mug), "--out=mug.jpg"]) == 2
    assert "--out must end in .png" in capsys.readouterr().err
    assert {field.name for field in fields(space["MirrorConfig"])} == {"picture", "out"}


def test_the_generator_of_the_page_makes_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = dict(vars(generators))
    run(python("docs/extend/data-generator.md", "def masked"), space)
    row = generators.Generator(space["masked"], ("text2image", "segment"))
    monkeypatch.setitem(generators.GENERATORS, "masked", row)
    config = RandomConfig(output_dir=tmp_path, count=4, preset="pocket", size=32)
    assert generate(config, "masked") == 0
    pictures = sorted(tmp_path.glob("*.jpg"))
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(picture.with_name(f"{picture.stem}_mask.png")) as mask:
            assert mask.size == (32, 32) and 0 < np.asarray(mask).mean() < 255
