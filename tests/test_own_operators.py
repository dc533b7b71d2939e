"""An operator, a renderer and a sampler of one's own are used by name, as the shipped ones are."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch import Tensor

from pops.cli.main import main
from pops.compose.draw import draw_tree
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.operators import Operator, OperatorCard, find_operator_folders, save_operator
from pops.prior.sampling import find_sampler
from pops.render import RENDERERS
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings
from pops.settings.sampling import SAMPLERS
from pops.stacks.stack import Stack, open_stack
from pops.studio.jobs.options import Options

ROOT = Path(__file__).parents[1]
MUG, WOOD, BEACH = (
    str(ROOT / "assets" / name)
    for name in ("objects/mug.png", "textures/wood.png", "backgrounds/beach.png")
)


def weathered() -> Operator:
    """The operator that the page on training trains."""
    path = ROOT / "docs" / "examples" / "weathered.py"
    spec = importlib.util.spec_from_file_location("weathered", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    operator: Operator = module.OPERATOR
    return operator


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of operators for the pocket stack: one of a plain name, and one of another."""
    folder = tmp_path_factory.mktemp("own")
    state = open_stack("pocket", device="cpu").base_prior_state()
    rows = (weathered(), Operator("rusty-iron", ("object", "iron-part")))
    for row in rows:
        save_operator(folder / row.name, OperatorCard(row, "pocket"), state)
    return folder


@pytest.fixture(scope="module")
def engine(own: Path) -> Engine:
    return Engine.load("pocket", "cpu", operator_folders=[own])


# Operators


def test_an_operator_of_one_s_own_is_applied_by_name(engine: Engine, own: Path) -> None:
    by_name = engine.apply("weathered", (MUG,), text="old", seeds=[3], steps=2)
    by_folder = engine.apply(str(own / "weathered"), (MUG,), text="old", seeds=[3], steps=2)
    assert torch.equal(by_name.image_embeds, by_folder.image_embeds)
    assert by_name.expressions == (f"weathered({MUG!r}, 'old')",)


def test_it_is_part_of_compositions_grids_and_trees(engine: Engine, tmp_path: Path) -> None:
    text = f"scene(weathered({MUG!r}, 'old'), {BEACH!r})"
    result = engine.run(text, seeds=[3], steps=2)
    made = engine.function("weathered")(MUG, "old")
    assert str(made) == f"weathered({MUG!r}, 'old')"
    assert torch.equal(result[made].image_embeds, result[str(made)].image_embeds)
    blank = Image.new("RGB", (32, 32))
    tree = draw_tree(result, lambda given: [blank] * len(given))
    assert tree.width > 300
    for name in "ab":
        Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(tmp_path / f"{name}.png")
    assert (
        len(engine.run(f"weathered({str(tmp_path)!r}, 'old')", seeds=[3], steps=1).embeddings) == 2
    )


def test_a_name_that_python_does_not_have_is_spelled_with_underscores(engine: Engine) -> None:
    text = f"rusty_iron({MUG!r}, {WOOD!r})"
    assert engine.run(text, seeds=[3], steps=1).embeddings.expressions == (text,)
    assert str(engine.function("rusty-iron")(MUG, iron_part=WOOD)) == text


@pytest.mark.parametrize("asked", ["weatherd('mug.png', 'old')", "scene(weatherd('a', 'b'), 'c')"])
def test_the_nearest_name_is_one_s_own_too(engine: Engine, asked: str) -> None:
    with pytest.raises(UsageError, match="did you mean weathered"):
        engine.run(asked)
    with pytest.raises(UsageError, match="did you mean weathered"):
        engine.apply("weatherd", (MUG,))


def test_the_command_line_knows_it_by_the_folders_that_are_named(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--seeds=3", "--steps=2", "--render_steps=1", f"--out={tmp_path}"]
    named = f"--operators={own / 'weathered'}"
    assert main(["apply", "weathered", MUG, "--text=old", named, *flags]) == 0
    assert (tmp_path / "weathered_mug_old.jpg").is_file()
    text = f"scene(weathered({MUG!r}, 'old'), {BEACH!r})"
    assert main(["run", text, named, *flags]) == 0
    assert (tmp_path / "scene_weathered_mug_old_beach_s3_tree.jpg").is_file()
    capsys.readouterr()
    assert main(["run", text, *flags]) == 2
    assert "unknown operator 'weathered'" in capsys.readouterr().err
    assert main(["apply", "weatherd", MUG, named]) == 2
    assert "did you mean weathered" in capsys.readouterr().err


def test_a_folder_without_an_operator_and_two_of_one_name_are_refused(
    own: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="not an operator folder"):
        find_operator_folders([tmp_path])
    card = OperatorCard(weathered(), "pocket")
    other = save_operator(tmp_path / "other", card, {"a": torch.zeros(1)})
    with pytest.raises(UsageError, match="both hold an operator named weathered"):
        find_operator_folders([own, other])
    (other / "operator.json").write_text("{")
    with pytest.raises(WeightsError, match=r"operator\.json"):
        find_operator_folders([other])


# Renderers and samplers


class Flat:
    """A renderer of plain pictures, whose grey is the seed."""

    takes_depth: ClassVar[bool] = False
    settings = DecoderSettings(steps=1, guidance=1.0, size=16)

    @classmethod
    def load(cls, stack: Stack) -> "Flat":
        return cls()

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        return [Image.new("RGB", (settings.size,) * 2, (seed,) * 3) for seed in seeds]


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RENDERERS, "flat", Flat)


def test_a_renderer_is_a_class_and_its_row(
    flat: None, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (picture,) = engine.render(engine.encode([MUG]), seeds=[9], renderer="flat")
    assert picture.size == (16, 16) and picture.getpixel((0, 0)) == (9, 9, 9)
    flags = ["--renderer=flat", "--render_seeds=5", "--render_size=24", f"--out={tmp_path}"]
    assert main(["apply", "texturing", MUG, WOOD, "--seeds=3", "--steps=1", *flags]) == 0
    with Image.open(tmp_path / "texturing_mug_wood_s3_r5.png") as drawn:
        assert drawn.size == (24, 24) and drawn.getpixel((0, 0)) == (5, 5, 5)
    assert Options.read({"renderer": "flat"}).rendering.renderer == "flat"
    capsys.readouterr()
    assert main(["apply", "--help"]) == 0
    assert ",flat}" in capsys.readouterr().out


def test_a_sampler_is_a_function_and_its_row(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, tmp_path: Path
) -> None:
    calls: list[int] = []

    def counted(*given: object) -> Tensor:
        calls.append(1)
        return find_sampler("ddim")(*given)  # type: ignore[arg-type]

    monkeypatch.setitem(SAMPLERS, "counted", counted)
    made = engine.apply("texturing", (MUG, WOOD), seeds=[3], steps=2, sampler="counted")
    plain = engine.apply("texturing", (MUG, WOOD), seeds=[3], steps=2, sampler="ddim")
    assert torch.equal(made.image_embeds, plain.image_embeds)
    flags = ["--sampler=counted", "--seeds=3", "--steps=1", "--render_steps=1", f"--out={tmp_path}"]
    assert main(["apply", "texturing", MUG, WOOD, *flags]) == 0
    assert len(calls) == 2
    assert Options.read({"sampler": "counted"}).sampling.sampler == "counted"
