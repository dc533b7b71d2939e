"""No command imports a heavy library that it can do without."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch._dynamo",
    "diffusers",
    "transformers",
    "sympy",
    "scipy",
    "pandas",
    "sklearn",
    "peft",
)
HELP = "from pops.cli.main import main; assert main({words!r}) == 0"
APPLY = """
from PIL import Image
from pops import Engine
engine = Engine.load("pocket", "cpu")
picture = Image.new("RGB", (64, 64), "red")
made = engine.apply("texturing", [(picture, picture)], seeds=[0], steps=2)
assert engine.render(made, seeds=[0], steps=1)[0].size[0] > 0
"""


def imported(code: str) -> set[str]:
    """The names of all modules that a new process has imported after running code."""
    tell = f"{code}\nimport sys\nprint('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("modules: ")[2].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["apply", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    modules = imported(HELP.format(words=words))
    assert "pops.cli.main" in modules
    assert [name for name in ("torch", "numpy", "PIL.Image", *HEAVY) if name in modules] == []


def test_pictures_are_made_of_pictures_without_the_libraries_of_other_renderers() -> None:
    modules = imported(APPLY)
    assert {"torch", "pops.decoder.unet"} <= modules
    assert [name for name in HEAVY if name in modules] == []
