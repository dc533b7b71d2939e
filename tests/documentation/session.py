"""Runs what a page tells people to type, in one warm process and with less of everything."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import urlopen

import pytest

from pops.cli import main as cli
from pops.operators import OperatorCard, save_operator
from pops.settings.flags.parsing import parse
from pops.stacks.stack import open_stack
from pops.studio.config import StudioConfig
from tests.data import tiny_data
from tests.documentation.blocks import ROOT, Block, blocks, commands
from tests.studio import studio_server
from tests.test_own_operators import weathered

__all__ = ["Session", "session"]

GOLDEN = ROOT / "tests/golden"

# What pages say, and what is run in its place, so that a page takes seconds.
SMALLER = (
    (r"(pops eval \w+) --stack kandinsky-2\.2", r"\1 --stack pocket"),
    (r"kandinsky-2\.2", "tiny"),  # the golden stack, which has the same classes
    (r"stabilityai/sdxl-turbo|models/my-sdxl\.safetensors", "tiny/sdxl"),
    (r"configs/infer/(\w+)\.yaml", r"configs/infer/pocket/\1.yaml"),
    (r"--count \d+", "--count 2"),
    (r"--variants \d+", "--variants 1"),
    (r"--max_train_steps \d+", "--max_train_steps 2"),
    (r"--train_batch_size \d+", "--train_batch_size 4"),
    (r"--limit \d+", "--limit 1"),
    (r"seeds=\[0\]\)", "seeds=[0], steps=1)"),  # of renderers
    (r"range\(100\)", "range(2)"),
    (r"workers=2", "workers=0"),
    (r"range\(1, 9\)", "[1, 2]"),
    (r'renderer="depth"', 'renderer="depth", steps=1, size=64'),
    (r"--renderer (ip_adapter|depth)", r"--renderer \1 --render_size 64"),
)
# Flags that are added to a command unless it has them.
ADDED = {
    "apply": ("--render_steps=1", "--seeds=18"),
    "run": ("--render_steps=1", "--seeds=18"),
    "demo": ("--render_steps=1", "--seeds=18"),
    "embed": ("--variants=1", "--num_workers=0"),
    "train": (
        *("--max_train_steps=2", "--train_batch_size=4", "--num_workers=0"),
        *("--n_val_records=2", "--n_val_images=1", "--report_to=none"),
    ),
    "eval texturing": ("--limit=1", "--render_steps=1"),
    "eval instruct": ("--limit=1", "--render_steps=1"),
    "scripts.infer_binary": ("--name_filter_a=[mug]", "--name_filter_b=[wood]"),
}
NAMES = {
    "mug": "objects/mug",
    "car": "objects/car",
    "vase": "objects/vase",
    "cat": "objects/rabbit",
    "wood": "textures/wood",
    "lava": "textures/lava",
    "beach": "backgrounds/beach",
    "glasses": "objects/ball",
}


class Session:
    """A stranger's folder, in which the blocks of one page are run in their order.

    It holds what the checkout has, and the pictures and data that the page takes for given.
    """

    def __init__(self, page: Path, folder: Path, resources: ExitStack) -> None:
        """Make the folder's content; `resources` closes what the page leaves open."""
        self.space: dict[str, Any] = {"__name__": "page"}
        self.folder, self.resources = folder, resources
        self.studio = ""
        for name in ("assets", "configs", "docs/examples"):
            shutil.copytree(ROOT / name, folder / name)
        for name, picture in NAMES.items():
            shutil.copy(ROOT / f"assets/{picture}.png", folder / f"{name}.png")
            shutil.copy(ROOT / f"assets/{picture}.png", folder / f"{name}.jpg")
        for kind, names in {"objects": ("mug", "car"), "backgrounds": ("beach",)}.items():
            (folder / kind).mkdir()
            for name in names:
                shutil.copy(folder / f"{name}.png", folder / kind)
        text = "".join(block.body for block in blocks(page) if not block.reason)
        for mentioned, give in GIVEN.items():
            if mentioned in text:
                give(folder)

    def run(self, block: Block) -> None:
        """Run a block. A command that fails, and an error in Python, fail the test."""
        if block.language == "python":
            body = self._smaller(block.body)
            exec(compile(body, block.where, "exec", dont_inherit=True), self.space)
            return
        for command in commands(block):
            program, *words = shlex.split(self._smaller(command))
            if (program, *words) == ("source", ".venv/bin/activate"):
                continue  # this process is in it
            if program == "pops":
                assert self._pops(words) == 0, f"{block.where}: {command}"
            elif program == "python" and words[0] == "-m":
                assert _python(words[1], words[2:]) == 0, f"{block.where}: {command}"
            elif program == "cp":
                assert words[0] == "-r", command
                shutil.copytree(words[1], words[2], dirs_exist_ok=True)
            else:
                pytest.fail(
                    f"{block.where}: {program!r} is not run here: write <!-- not run: why --> "
                    "on the line before the block"
                )

    def _smaller(self, text: str) -> str:
        """Replace what would take long, and the address of a studio by that of one that runs."""
        for said, run in SMALLER:
            text = re.sub(said, run, text)
        if "http://127.0.0.1:7860" in text:
            text = text.replace("http://127.0.0.1:7860", self._serve(StudioConfig()))
        return text

    def _pops(self, words: list[str]) -> int:
        if words[0] == "studio":
            config = parse("pops studio", StudioConfig, words[1:])
            assert config is not None
            with urlopen(self._serve(config)) as answer:
                return 0 if answer.status == 200 else 1
        name = next(n for n in (" ".join(words[:2]), words[0]) if n in cli.COMMANDS)
        return cli.main([*words, *_missing(name, words)])

    def _serve(self, config: StudioConfig) -> str:
        """Give the address of a studio with these settings, started at their first use."""
        own = ("operators", "mcp", "index", "password", "host")
        more = {name: getattr(config, name) for name in own}
        if not self.studio or any(more[name] for name in ("operators", "mcp", "index")):
            self.studio, service = self.resources.enter_context(
                studio_server.running(stack=str(config.stack), **more)
            )
            loaded = Event()  # while its thread imports models, no other may do so
            service.queue.submit(lambda job: loaded.set())
            assert loaded.wait(300), "the studio does not load its models"
        return self.studio


def _missing(name: str, words: list[str]) -> list[str]:
    """Give the flags of `ADDED` that a command does not have."""
    given = {word.split("=")[0] for word in words}
    return [flag for flag in ADDED.get(name, ()) if flag.split("=")[0] not in given]


def _python(module: str, words: list[str]) -> int:
    """Run `python -m MODULE WORDS` in this process; give its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *words, *_missing(module, words)])
        patch.syspath_prepend(str(ROOT))
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


# What pages take for given


def _tiny(folder: Path) -> None:
    """Write the golden stack, with tiny parts for the other renderers, as `tiny`."""
    from benchmarks.models import tiny_sdxl  # which takes seconds to import

    tiny = folder / "tiny"
    for part in ("prior", "decoder"):
        shutil.copytree(GOLDEN / f"kandinsky-tiny-{part}", tiny / part)
    shutil.copytree(GOLDEN / "operators", tiny / "operators")
    tiny_sdxl.make_all(tiny, GOLDEN / "kandinsky-tiny-prior/tokenizer")


def _weathered(folder: Path) -> None:
    """Write the operator that the pages on training train, untrained."""
    state = open_stack("pocket", device="cpu").base_prior_state()
    save_operator(folder / "results/weathered/operator", OperatorCard(weathered(), "pocket"), state)


def _textures(folder: Path) -> None:
    for name, records in (("textures", 4), ("textures_val", 2)):
        tiny_data.write_texturing(folder / "datasets" / name, records)
    shutil.copytree(folder / "objects", folder / "datasets/random_images")


def _published_layouts(folder: Path) -> None:
    tiny_data.write_texturing(folder / "data/texturing", 4)
    tiny_data.write_scenes(folder / "data/scene", 4)
    shutil.copytree(folder / "objects", folder / "data/random")


def _published_embedding(folder: Path) -> None:
    shutil.copy(
        GOLDEN / "inputs/texturing_ab_s_18_cfg_8_img_emb.pth",
        folder / "mug_wood_s_18_cfg_8.0_img_emb.pth",
    )


def _studies(folder: Path) -> None:
    for name in ("out/ours", "out/theirs", "out/inputs"):
        shutil.copytree(folder / "objects", folder / name)


GIVEN: dict[str, Callable[[Path], None]] = {
    "kandinsky-2.2": _tiny,
    'operator_folders=["results/weathered/operator"]': _weathered,
    "--config_path configs/training/texturing.yaml": _textures,
    "mug_wood_s_18_cfg_8.0_img_emb.pth": _published_embedding,
    "data/texturing": _published_layouts,
    "out/theirs": _studies,
}


@contextmanager
def session(page: Path, folder: Path) -> Iterator[Session]:
    """Give a session of a page inside the block, with its folder as the working directory."""
    with ExitStack() as resources, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Session(page, folder, resources)
