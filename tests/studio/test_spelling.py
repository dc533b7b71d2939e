"""The Python and the command that the page copies run, and make what the studio made."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pops.cli.main import main
from pops.compose.parse import parse
from pops.engine import Engine
from pops.io.embeddings import load_embeddings
from pops.settings.rendering import RenderSettings
from pops.settings.sampling import SamplingSettings
from pops.studio.jobs.options import Options
from pops.studio.service import StudioService
from pops.studio.spelling import Speller

ROOT = Path(__file__).parents[2]
NESTED = "scene(texturing('mug.png', 'mine.png'), 'beach.png')"
SETTINGS = {"seeds": [7], "steps": 3, "guidance": 2.5, "sampler": "ddim", "render_steps": 2}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("pocket", "cpu")


@pytest.fixture(scope="module")
def told(engine: Engine) -> dict[str, Any]:
    """A composition of two shipped pictures and one of the visitor's own, as the page is told."""
    service = StudioService(engine, 4, 2**20)
    try:
        content = (ROOT / "assets/textures/wood.png").read_bytes()
        mine = service.add(content, "mine.png")
        return service.check(NESTED, {"mine.png": mine.id}, SETTINGS)
    finally:
        service.queue.close()


@pytest.fixture(scope="module")
def wanted(engine: Engine) -> torch.Tensor:
    names = ("objects/mug", "textures/wood", "backgrounds/beach")
    mug, wood, beach = (str(ROOT / f"assets/{name}.png") for name in names)
    text = f"scene(texturing({mug!r}, {wood!r}), {beach!r})"
    made = engine.run(text, seeds=[7], steps=3, guidance=2.5, sampler="ddim")
    return made.embeddings.image_embeds


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the visitor's own file in it, which is no clone of the project."""
    (tmp_path / "mine.png").write_bytes((ROOT / "assets/textures/wood.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def from_elsewhere(told: dict[str, Any], kind: str) -> str:
    """Turn names from the clone, where the studio runs, into whole paths."""
    return str(told[kind]).replace("'assets/", f"'{ROOT}/assets/")


def test_the_command_runs(told: dict[str, Any], wanted: torch.Tensor, there: Path) -> None:
    program, *arguments = shlex.split(from_elsewhere(told, "command"))
    assert program == "pops" and main([*arguments, "--device", "cpu", "--out", "out"]) == 0
    (path,) = (there / "out").glob("scene*.safetensors")
    torch.testing.assert_close(load_embeddings(path).image_embeds, wanted)


def test_the_lines_of_python_run(told: dict[str, Any], wanted: torch.Tensor, there: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(from_elsewhere(told, "python"), "python", "exec"), names)
    torch.testing.assert_close(names["result"].embeddings.image_embeds, wanted)
    assert (there / "picture.png").is_file()


def test_files_of_the_visitor_s_own_are_told(told: dict[str, Any]) -> None:
    assert told["own"] == ["mine.png"]


def test_nobody_elsewhere_is_told_where_things_lie(engine: Engine) -> None:
    service = StudioService(engine, 4, 2**20, local=False)
    service.queue.close()
    told = service.check("texturing('mug.png', 'wood.png')", {}, {})
    where = "texturing('assets/objects/mug.png', 'assets/textures/wood.png')"
    assert told["command"] == f'pops run "{where}" --seeds 18'
    assert str(ROOT) not in repr(told)


def test_all_that_makes_a_difference_is_spelled() -> None:
    options = Options(
        sampling=SamplingSettings(seeds=(1, 2)),
        rendering=RenderSettings(seeds=(3,), guidance=2.0, renderer="ip_adapter"),
    )
    node = parse("texturing('a.png', 'b.png')")
    spelled = Speller("kandinsky-2.2", {}, {"texturing": "my operators/t"}).spell(node, options)
    flags = shlex.split(spelled["command"])[3:]
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    assert given == {
        "--seeds": "1,2",
        "--render_seeds": "3",
        "--render_guidance": "2.0",
        "--renderer": "ip_adapter",
        "--stack": "kandinsky-2.2",
        "--operators": "my operators/t",
    }
    calls = "stack='kandinsky-2.2', operator_folders=['my operators/t']"
    assert calls in spelled["python"]
    assert "seeds=[3], guidance=2.0, renderer='ip_adapter'" in spelled["python"]


def test_the_index_is_named_where_pictures_are_found() -> None:
    found = Options(rendering=RenderSettings(seeds=(0,), renderer="find"))
    spelled = Speller(index="my photos.index").spell(parse("'a.png'"), found)
    assert shlex.split(spelled["command"])[-2:] == ["--index", "my photos.index"]
    assert "Engine.load(index='my photos.index')" in spelled["python"]
    assert "index" not in Speller(index="my.index").spell(parse("'a.png'"), Options())["command"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1))
def test_any_name_comes_back_from_the_shell_as_it_was(name: str) -> None:
    node = parse(f"texturing({f'x{name}.png'!r}, _)")
    command = shlex.split(Speller().spell(node, Options())["command"])
    assert command[:3] == ["pops", "run", str(node)]
