"""All that README and documentation tell to type is run on little, or named with why not."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pops.cli import main as cli
from tests.test_pages import PAGES, ROOT, blocks, commands, run

# Less of everything, so that each page is done in a minute at most.
LESS = {
    r"--count \d+": "--count 12",
    r"--max_train_steps \d+": "--max_train_steps 4",
    r"--train_batch_size \d+": "--train_batch_size 8",
    r"--variants \d+": "--variants 2",
    r"--limit \d+": "--limit 2",
}
# Part of a command -> why it is not run here.
NOT_RUN = {
    "kandinsky-2.2": "needs 10 GB of weights",
    "--renderer ip_adapter": "needs 7 GB of weights",
    "stacks/open-clip": "needs 4 GB of weights; run on small ones in tests/stacks",
    "pOpsPaper/": "is fetched from the hub",
    "user/rusty": "is fetched from the hub, or pushed to it; run against a local one in tests/io",
    "operators/rusty": "is what a command before it would have fetched",
    "operators/scene": "is what a command before it would have fetched",
    "pops studio": "is a server; run in tests/studio",
    "pops demo": "is run by its own test",
    "runs/pocket": "needs what hours of building the stack have left",
    "pops eval pocket": "takes minutes; run in tests/evaluation",
    "pops eval metrics": "takes hours; run in tests/evaluation",
    "pops eval study": "needs pictures of two systems; run in tests/evaluation",
    "pops pocket results": "takes minutes; run in tests/pocket",
    "--config_path configs/training/pocket/joint.yaml": "needs data of all operators",
    "results/pocket/joint": "is what the command before it would have made",
    "pytorch_lora_weights": "needs a LoRA file of diffusers; run in tests/training",
    "--dataset_path=data/texturing": "shows the form of a large data set",
    "configs/training/texturing.yaml": "needs 10 GB of weights",
    "results/texturing/operator": "is what the command before it would have made",
    "textures-faithful": "needs 20 GB of weights",
    "pops pocket assets": "takes minutes; run in tests/pocket",
    "/kandinsky-2-2-decoder": "needs 5 GB of weights; run on small ones in tests/render",
    "load_lora_adapter": "is run on small weights in tests/training",
    "data/scene": "needs a large data set",
    "127.0.0.1:7860": "needs a server; run in tests/studio",
    "import SubjectPrior": "needs 10 GB of weights; run on small ones in tests/stacks",
    "Embeddings.load(path)": "is for a file of one's own",
    'renderer="depth"': "needs 10 GB of weights; run on small ones in tests/render",
}
# Page -> the page whose commands make what it starts from, and which of them are needed.
BEFORE = {"composition": ("training", "weathered"), "training": ("data-generation", "generate")}


def told(page: str) -> list[str]:
    """The commands of a page, by the page's stem."""
    (path,) = [p for p in PAGES if p.stem == page and p.parent == ROOT / "docs"]
    return list(commands(path))


def reason(told: str) -> str | None:
    """Why a command or a block of Python is not run; None where it is."""
    return next((why for part, why in NOT_RUN.items() if part in told), None)


def less(command: str) -> list[str]:
    """The words of a command with less of everything."""
    for more, fewer in LESS.items():
        command = re.sub(more, fewer, command)
    return shlex.split(command)[1:]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a checkout has, and pictures of the names that pages use for one's own."""
    for folder in ("assets", "configs", "docs/examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    own = {
        "mug": "objects/mug",
        "vase": "objects/vase",
        "wood": "textures/wood",
        "lava": "textures/lava",
        "beach": "backgrounds/beach",
    }
    for name, source in own.items():
        for suffix in (".png", ".jpg"):
            shutil.copyfile(ROOT / f"assets/{source}.png", tmp_path / f"{name}{suffix}")
    for folder in ("objects", "backgrounds"):
        (tmp_path / folder).mkdir()
        for picture in sorted((ROOT / "assets" / folder).glob("*.png"))[:2]:
            shutil.copyfile(picture, tmp_path / folder / picture.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code(page: Path) -> list[str]:
    """The blocks of Python that a user would run; those under Extend are tested in test_pages."""
    return [] if page.parent.name == "extend" else list(blocks(page, "python"))


WALKED = [p for p in PAGES if any(reason(told) is None for told in (*commands(p), *code(p)))]


@pytest.mark.notebook
@pytest.mark.parametrize("page", WALKED, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, workplace: Path) -> None:
    before, part = BEFORE.get(page.stem, ("", ""))
    needed = [c for c in told(before) if part in c] if before else []
    for command in [*needed, *commands(page)]:
        if reason(command) is None:
            assert cli.main(less(command)) == 0, command
    space: dict[str, Any] = {}
    for block in code(page):
        if reason(block) is None:
            run(block, space)
    for picture in (p for p in workplace.rglob("*.png") if "assets" not in p.parts):
        with Image.open(picture) as shown:
            assert np.asarray(shown).std() > 5, picture


def test_what_is_not_run_is_left_out_for_a_reason_that_still_holds() -> None:
    every = [each for page in PAGES for each in (*commands(page), *code(page))]
    assert not [part for part in NOT_RUN if not any(part in each for each in every)]
    assert len([each for each in every if reason(each) is None]) > 50
