"""The command line: what works, and what every kind of wrong input gets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pops
from pops.cli.main import COMMANDS, main
from pops.engine import Engine
from pops.errors import WeightsError, install_hint
from pops.io.embeddings import Embeddings
from pops.operators import OPERATORS

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
WEIGHTS = ROOT / "pops" / "pocket" / "weights"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that must fail with one line; nothing may be written. The line."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, status: int) -> str:
        before = sorted(tmp_path.rglob("*"))
        got, out, err = run(*arguments)
        lines = [line for line in err.splitlines() if not line.startswith("loading ")]
        assert (got, out, len(lines)) == (status, "", 1), err
        assert lines[0].startswith("pops: error: ")
        assert "Traceback" not in err and "add --debug" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return call


@pytest.fixture
def mug(tmp_path: Path) -> Path:
    return picture(tmp_path / "mug.png", (200, 30, 40))


@pytest.fixture
def wood(tmp_path: Path) -> Path:
    return picture(tmp_path / "wood.png", (150, 100, 50))


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (24, 24), colour).save(path)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole stack of tiny random models, in a folder, that renders in two steps."""
    stack = tmp_path_factory.mktemp("stacks") / "tiny"
    shutil.copytree(GOLDEN / "kandinsky-tiny-prior", stack / "prior")
    shutil.copytree(GOLDEN / "kandinsky-tiny-decoder", stack / "decoder")
    shutil.copytree(GOLDEN / "operators", stack / "operators")
    settings = {"steps": 2, "guidance": 4.0, "size": 32}
    (stack / "decoder" / "render.json").write_text(json.dumps(settings))
    return stack


def pops_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pops", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


# What works


def test_apply_writes_a_strip_a_picture_and_an_embedding_for_each_seed(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a" / "out"
    status, said, _ = run("apply", "texturing", mug, wood, "--stack", tiny, "--out", out)
    assert status == 0
    assert str(out / "texturing_mug_wood.jpg") in said
    assert sorted(file.name for file in out.iterdir()) == [
        "texturing_mug_wood.jpg",
        "texturing_mug_wood_s18.safetensors",
        "texturing_mug_wood_s18_r0.png",
        "texturing_mug_wood_s42.safetensors",
        "texturing_mug_wood_s42_r0.png",
    ]
    made = Embeddings.load(out / "texturing_mug_wood_s18.safetensors")
    assert (len(made), made.seeds, made.guidance) == (1, (18,), 8.0)


def test_apply_gives_what_the_engine_gives(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    flags = ["--seeds", "7", "--guidance", "3", "--steps", "4", "--render-seeds", "5"]
    assert run("apply", "texturing", mug, wood, "--stack", tiny, "--out", tmp_path, *flags)[0] == 0
    engine = Engine.load(tiny)
    made = engine.apply("texturing", [(mug, wood)], seeds=[7], guidance=3.0, steps=4)
    saved = Embeddings.load(tmp_path / "texturing_mug_wood_s7.safetensors")
    np.testing.assert_allclose(saved.image_embeds, made.image_embeds, atol=1e-5)
    with Image.open(tmp_path / "texturing_mug_wood_s7_r5.png") as shown:
        rendered = engine.render(made, seeds=[5])[0]
        assert np.abs(np.subtract(shown, rendered, dtype=int)).max() <= 1


def test_an_embedding_that_was_written_is_an_input(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    flags = ["--stack", tiny, "--out", tmp_path, "--steps", "2", "--seeds", "18"]
    assert run("apply", "texturing", mug, wood, *flags)[0] == 0
    first = tmp_path / "texturing_mug_wood_s18.safetensors"
    assert run("apply", "texturing", first, wood, *flags)[0] == 0
    assert (tmp_path / "texturing_texturing_mug_wood_s18_wood.jpg").is_file()


def test_an_input_can_be_left_out(run: Run, tiny: Path, wood: Path, tmp_path: Path) -> None:
    flags = ["--stack", tiny, "--out", tmp_path / "out", "--steps", "2"]
    assert run("apply", "texturing", "_", wood, *flags)[0] == 0
    assert (tmp_path / "out" / "texturing_none_wood.jpg").is_file()


def test_an_instruction_is_part_of_the_name(
    run: Run, tiny: Path, mug: Path, tmp_path: Path
) -> None:
    flags = ["--stack", tiny, "--out", tmp_path / "out", "--steps", "2", "--text", "a/b ../c"]
    assert run("apply", "instruct", mug, *flags)[0] == 0
    assert (tmp_path / "out" / "instruct_mug_a-b-..-c.jpg").is_file()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "I;16", "1"])
def test_pictures_of_any_mode_are_inputs(
    run: Run, tiny: Path, wood: Path, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "input.tiff"
    Image.new(mode, (24, 24)).save(path)
    flags = ["--stack", tiny, "--out", tmp_path / "out", "--steps", "1", "--seeds", "1"]
    assert run("apply", "texturing", path, wood, *flags)[0] == 0


def test_a_settings_file_says_the_same_as_flags(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    flags = ["--seeds", "1,2", "--render-seeds", "[3]", "--guidance", "2", "--out", "o"]
    _, said, _ = run("apply", "texturing", mug, wood, "--stack", tiny, *flags, "--print_config")
    (tmp_path / "apply.yaml").write_text(said)
    assert run("apply", "--config_path", tmp_path / "apply.yaml", "--print_config")[1] == said
    assert "seeds:\n- 1\n- 2\n" in said


def test_flags_after_a_settings_file_win(run: Run, tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("seeds: 1,2\nsteps: 3\n")
    said = run("demo", "--config_path", tmp_path / "demo.yaml", "--steps", 9, "--print_config")[1]
    assert "seeds:\n- 1\n- 2\n" in said and "steps: 9\n" in said


# Compositions


QUICK = ["--steps", "2", "--render-steps", "1"]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the commands run in, with a mug, wood, a beach, and a folder of two objects."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "objects").mkdir()
    places = ["mug.png", "wood.png", "beach.png", "objects/car.png", "objects/hat.png"]
    for i, place in enumerate(places):
        picture(tmp_path / place, (40 * i, 200 - 30 * i, 90))
    return tmp_path


def test_run_writes_every_part_the_results_and_a_tree_for_each_seed(
    run: Run, tiny: Path, inputs: Path
) -> None:
    text = "scene(texturing('mug.png', 'wood.png'), 'beach.png')"
    status, said, _ = run("run", text, "--stack", tiny, "--seeds", "18,42", *QUICK)
    assert status == 0
    name = "scene_texturing_mug_wood_beach"
    assert said.startswith(f"out/run/{name}_s18_tree.jpg")
    written = {file.name for file in (inputs / "out/run").iterdir()}
    assert written == {
        *(f"input_{name}.safetensors" for name in ("mug", "wood", "beach")),
        *(f"texturing_mug_wood_s{seed}.safetensors" for seed in (18, 42)),
        *(f"{name}_s{seed}.safetensors" for seed in (18, 42)),
        *(f"{name}_s{seed}_r0.png" for seed in (18, 42)),
        *(f"{name}_s{seed}_tree.jpg" for seed in (18, 42)),
    }
    made = Embeddings.load(inputs / f"out/run/{name}_s42.safetensors")
    assert (made.expressions, made.seeds, made.stack) == ((text,), (42,), "tiny")
    engine = Engine.load(tiny).run(text, seeds=[42], steps=2)
    np.testing.assert_allclose(made.image_embeds, engine.embeddings.image_embeds, atol=1e-4)


def test_run_takes_weights_by_operator(run: Run, tiny: Path, inputs: Path) -> None:
    text = "scene(texturing('mug.png', 'wood.png'), 'beach.png')"
    union = GOLDEN / "operators/models/union/learned_prior.pth"
    flags = ["--stack", tiny, "--seeds", "18", "--weights", f"scene={union}", *QUICK]
    assert run("run", text, *flags)[0] == 0
    made = Embeddings.load("out/run/scene_texturing_mug_wood_beach_s18.safetensors")
    wanted = Engine.load(tiny).run(text, seeds=[18], steps=2, weights={"scene": union})
    np.testing.assert_allclose(made.image_embeds, wanted.embeddings.image_embeds, atol=1e-4)


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--weights", "union"], "--weights takes OPERATOR=PLACE"),
        (["--weights", "union=x"], "--weights names union, which is not in the composition"),
        (["--weights", "unoin=x"], "did you mean union?"),
        (["--renderer", "depth"], "give one"),
        (["--renderer", "deep"], "unknown renderer 'deep': did you mean depth?"),
    ],
)
def test_what_run_cannot_use_is_one_line_and_status_2(
    run: Run, inputs: Path, flags: list[str], says: str
) -> None:
    status, _, err = run("run", "instruct(_, 'shiny')", *flags)
    assert status == 2 and says in err and err.count("\n") == 1


def test_what_run_wrote_is_an_input_of_the_next_and_is_not_written_again(
    run: Run, tiny: Path, inputs: Path
) -> None:
    flags = ["--stack", tiny, "--seeds", "18", "--out", "o", *QUICK]
    assert run("run", "scene(texturing('mug.png', 'wood.png'), 'beach.png')", *flags)[0] == 0
    whole = Embeddings.load("o/scene_texturing_mug_wood_beach_s18.safetensors")
    before = Path("o/texturing_mug_wood_s18.safetensors").read_bytes()
    text = "scene('o/texturing_mug_wood_s18.safetensors', 'beach.png')"
    assert run("run", text, *flags)[0] == 0
    assert Path("o/texturing_mug_wood_s18.safetensors").read_bytes() == before
    again = Embeddings.load("o/scene_texturing_mug_wood_s18_beach_s18.safetensors")
    np.testing.assert_allclose(again.image_embeds, whole.image_embeds, atol=1e-4)


@pytest.mark.parametrize(
    "text, figures",
    [
        ("scene('objects', _)", {"scene_objects_none"}),
        ("scene('objects', 'objects')", {"scene_objects_objects_s1", "scene_objects_objects_s2"}),
        ("mean('objects', 'mug.png', 0.3)", {"mean_objects_mug_0.3"}),
    ],
)
def test_folders_make_grids(
    run: Run, tiny: Path, inputs: Path, text: str, figures: set[str]
) -> None:
    flags = ["--stack", tiny, "--seeds", "1,2", "--render-seeds", "0,3", *QUICK]
    assert run("run", text, *flags)[0] == 0
    assert {file.stem for file in (inputs / "out/run").glob("*.jpg")} == figures


@pytest.mark.parametrize("trees, count", [("all", 2), ("none", 0)])
def test_trees_of_a_grid_are_drawn_when_asked_for(
    run: Run, tiny: Path, inputs: Path, trees: str, count: int
) -> None:
    flags = ["--stack", tiny, "--seeds", "1", "--trees", trees, *QUICK]
    assert run("run", "instruct('objects', 'shiny')", *flags)[0] == 0
    assert len(list(inputs.glob("out/run/*_tree.jpg"))) == count


def test_a_bad_file_of_a_folder_is_named_the_rest_is_done_and_the_status_is_1(
    run: Run, tiny: Path, inputs: Path
) -> None:
    (inputs / "objects" / "bad.png").write_text("text")
    (inputs / "objects" / "bad.pth").write_bytes(b"no embedding")
    flags = ["--stack", tiny, "--seeds", "1", *QUICK]
    status, said, err = run("run", "scene('objects', 'beach.png')", *flags)
    assert status == 1 and said.startswith("out/run/scene_objects_beach.jpg")
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert ["bad.png" in line or "bad.pth" in line for line in skipped] == [True, True]
    made = {file.stem for file in inputs.glob("out/run/scene_*.safetensors")}
    assert made == {"scene_car_beach_s1", "scene_hat_beach_s1"}


def test_parts_of_the_same_name_have_files_of_their_own(run: Run, tiny: Path, inputs: Path) -> None:
    picture(inputs / "objects" / "mug.png", (1, 2, 3))
    text = "union(scene('mug.png', _), scene('objects/mug.png', _))"
    assert run("run", text, "--stack", tiny, "--seeds", "1", *QUICK)[0] == 0
    made = [Embeddings.load(file) for file in inputs.glob("out/run/*.safetensors")]
    assert len({one.expressions for one in made}) == len(made) == 5


def test_a_figure_too_large_to_draw_costs_no_results(
    run: Run, tiny: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pops.compose.draw.LARGEST_SIDE", 10)
    text = "scene('mug.png', _)"
    status, said, err = run("run", text, "--stack", tiny, "--seeds", "1", *QUICK)
    assert status == 0 and "not drawn: scene_mug_none_s1_tree.jpg" in err
    assert (inputs / "out/run/scene_mug_none_s1_r0.png").is_file()


@pytest.mark.parametrize(
    "text, says, under, status",
    [
        ("scene(textring('mug.png', 'wood.png'), _)", "did you mean texturing?", "textring", 2),
        ("scene(mug.png, _)", "file names are quoted, as in 'mug.png'", "mug.png", 2),
        ("scene('mug.png', _", "'(' was never closed", "(", 2),
        ("__import__('os').mkdir('made')", "is not allowed", "__import__", 2),
        ("scene('mugg.png', _)", "did you mean mug.png?", "'mugg.png'", 1),
        ("scene('bad.png', _)", "bad.png is empty", "'bad.png'", 1),
        ("scene('empty', _)", "empty: it holds no picture", "'empty'", 1),
    ],
)
def test_a_mistake_in_a_composition_is_shown_where_it_is_before_torch_is_imported(
    inputs: Path, text: str, says: str, under: str, status: int
) -> None:
    (inputs / "bad.png").touch()
    (inputs / "empty").mkdir()
    before = sorted(inputs.rglob("*"))
    code = (
        "import sys; from pops.cli.main import main;"
        "status = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "run", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said, line, caret = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (status, "")
    assert said.startswith("pops: error: ") and says in said
    assert line == f"  {text}" and line[caret.index("^") :].startswith(under)
    assert sorted(inputs.rglob("*")) == before


def test_a_composition_can_stand_in_a_settings_file(run: Run, inputs: Path) -> None:
    text = "instruct(mean('mug.png', 'wood.png', 0.3), 'shiny, dark: \"cold\"')"
    said = run("run", text, "--seeds", "1", "--print_config")[1]
    (inputs / "run.yaml").write_text(said)
    assert run("run", "--config_path", "run.yaml", "--print_config")[1] == said


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_the_flags_and_examples(run: Run, name: str) -> None:
    status, said, err = run(*name.split(), "--help")
    assert (status, err) == (0, "")
    assert "examples:" in said and f"pops {name}" in said and "(default: )" not in said


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["eval"], ["pocket", "--help"]])
def test_the_commands_are_listed(run: Run, arguments: Sequence[str]) -> None:
    status, said, _ = run(*arguments)
    assert status == 0 and "commands:" in said


def test_the_version_is_said(run: Run) -> None:
    assert run("--version") == (0, f"pops {pops.__version__}\n", "")


def test_the_command_line_imports_no_torch() -> None:
    heavy = "{'torch', 'transformers', 'diffusers', 'numpy', 'PIL'}"
    code = (
        "import sys; from pops.cli.main import main; main(['apply', '--help']);"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_wrong_input_is_refused_before_torch_is_imported() -> None:
    code = (
        "import sys; from pops.cli.main import main; main(['apply', 'texturing', 'gone.png', '_']);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


HEAVY = {"torch", "transformers", "diffusers", "matplotlib", "numpy"}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_loads_nothing_heavy(name: str) -> None:
    code = (
        f"import sys; from pops.cli.main import main; status = main({[*name.split(), '--help']!r});"
        f"heavy = {HEAVY!r} & set(sys.modules); sys.exit(str(heavy) if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


# The public names


def test_all_names_exist_and_are_all_the_public_ones() -> None:
    assert set(pops.__all__) == set(pops._HOMES) | {"__version__"} == set(dir(pops))
    for name in pops.__all__:
        assert getattr(pops, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Motor'"):
        _ = pops.Motor  # type: ignore[attr-defined]


def test_name_and_version_of_the_distribution_stand_in_one_place() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    assert project["name"] == pops.DISTRIBUTION and project["dynamic"] == ["version"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "pops.__version__"}
    for extra in project["optional-dependencies"]:
        assert install_hint(extra) == f"pip install 'pops-operators[{extra}]'"


# What the command line refuses


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["aply"], "did you mean apply?"),
        (["pocket", "shet"], "did you mean pocket sheet?"),
        (["evaluate"], "did you mean eval"),
        (["qqqq"], "unknown command 'qqqq'"),
        (["apply"], "operator"),
        (["demo", "extra"], "unexpected argument 'extra'"),
        (["demo", "--sedes", "3"], "unknown flag --sedes: did you mean --seeds?"),
        (["demo", "--sedes=3"], "unknown flag --sedes: did you mean --seeds?"),
        (["demo", "--see", "3"], "unknown flag --see"),
        (["demo", "--seeds"], "--seeds takes whole numbers"),
        (["demo", "--seeds", "a,b"], "--seeds takes whole numbers, as in 18,42 or 1..8, not 'a,b'"),
        (["demo", "--steps", "many"], "--steps takes a whole number, not 'many'"),
        (["demo", "--steps", "0"], "--steps must be from 1"),
        (["demo", "--guidance", "x"], "--guidance takes a number or null, not 'x'"),
        (["demo", "--dtype", "f16"], "--dtype takes one of auto, float32"),
        (["demo", "--pairs", "mug"], "--pairs takes OBJECT+TEXTURE"),
        (["demo", "--pairs="], "--pairs is empty"),
        (["demo", "--pairs", "mug+woood"], "did you mean textures/wood?"),
        (["demo", "--pairs", "../objects/mug+wood"], "unknown picture 'objects/../objects/mug'"),
        (["demo", "--config_path", "gone.yaml"], "gone.yaml"),
        (["apply", "txturing", "a", "b"], "did you mean texturing?"),
        (["apply", "qqqq", "a", "b"], "the operators are texturing"),
        (["apply", "results/mine/operator", "a", "b"], "there is no such folder"),
        (["apply", "./", "a", "b"], "it holds no operator.json"),
        (["apply", "texturing", "a"], "texturing takes 2 inputs (object, texture), not 1"),
        (["apply", "texturing", "a", "b", "c"], "not 3"),
        (["apply", "texturing"], "not 0"),
        (["apply", "texturing", "a", "b", "--text", "x"], "takes no text"),
        (["apply", "instruct", "a"], "needs a text"),
        (["eval", "pocket", "--operator", "unoin"], "did you mean union?"),
    ],
)
def test_a_wrong_command_is_one_line_and_status_2(
    refused: Callable[..., str], arguments: Sequence[str], says: str
) -> None:
    assert says in refused(*arguments, status=2)


def test_the_folder_of_a_training_names_the_operator_in_it(
    refused: Callable[..., str], inputs: Path
) -> None:
    (inputs / "results/mine/operator").mkdir(parents=True)
    (inputs / "results/mine/operator/operator.json").write_text("{}")
    err = refused("apply", "results/mine/", "a", "b", status=2)
    assert "did you mean results/mine/operator?" in err


@pytest.mark.parametrize(
    "text, says",
    [
        ("sedes: [1]", "unknown setting 'sedes': did you mean seeds?"),
        ("steps: many", "--steps takes a whole number"),
        ("seeds: [1, b]", "--seeds takes whole numbers"),
        ("steps: [", "pars"),
    ],
)
def test_a_wrong_settings_file_is_one_line_and_status_2(
    refused: Callable[..., str], tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "demo.yaml").write_text(text)
    assert says in refused("demo", "--config_path", "demo.yaml", status=2)


def test_a_missing_picture_is_named(refused: Callable[..., str], mug: Path) -> None:
    assert "no such file: gone.png" in refused("apply", "texturing", mug, "gone.png", status=1)


def test_a_missing_embedding_file_is_named(refused: Callable[..., str], mug: Path) -> None:
    assert "gone.pth" in refused("apply", "texturing", mug, "gone.pth", status=1)


def test_a_grid_is_not_written_into_a_folder_of_its_inputs(
    refused: Callable[..., str], mug: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(mug, tmp_path / "in")
    for out in ("in", "in/../in", "./in/"):
        said = refused("run", f"union('{mug}', 'in')", "--out", out, status=2)
        assert "is a folder that is read, in: name another folder" in said


def test_a_damaged_embedding_file_is_named(
    refused: Callable[..., str], tiny: Path, mug: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x08\0\0\0")
    said = refused("apply", "texturing", mug, "a.safetensors", "--stack", tiny, status=1)
    assert "a.safetensors" in said


@pytest.mark.parametrize(
    "body",
    [b"", b"just text\n" * 9, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"<svg/>"],
    ids=["empty", "text", "truncated", "svg"],
)
def test_an_unusable_picture_is_named(
    refused: Callable[..., str], mug: Path, tmp_path: Path, body: bytes
) -> None:
    (tmp_path / "bad.png").write_bytes(body)
    assert "bad.png" in refused("apply", "texturing", mug, "bad.png", status=1)


def test_a_folder_as_input_is_named(refused: Callable[..., str], mug: Path) -> None:
    assert "is a folder" in refused("apply", "texturing", mug, ".", status=1)


def test_output_into_a_file_is_refused(
    refused: Callable[..., str], mug: Path, wood: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    for out in ("taken", "taken/deeper"):
        said = refused("apply", "texturing", mug, wood, "--out", out, status=1)
        assert "cannot write taken" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_into_a_closed_folder_is_refused(
    refused: Callable[..., str], mug: Path, wood: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    said = refused("apply", "texturing", mug, wood, "--out", "closed/out", status=1)
    assert "cannot write closed" in said


@pytest.mark.parametrize(
    "flags, says, status",
    [
        (["--stack", "pockt"], "did you mean pocket?", 2),
        (["--device", "tpu9"], "device", 2),
        (["--sampler", "euler"], "sampler", 2),
        (["--stack", "."], "is not a stack", 1),
    ],
)
def test_a_wrong_stack_device_or_sampler_is_one_line(
    refused: Callable[..., str],
    tiny: Path,
    mug: Path,
    wood: Path,
    flags: Sequence[str],
    says: str,
    status: int,
) -> None:
    inputs = ["apply", "texturing", mug, wood, "--stack", tiny]
    assert says in refused(*inputs, *flags, status=status)


@pytest.mark.parametrize(
    "part",
    [
        "prior/prior/diffusion_pytorch_model.safetensors",
        "prior/image_encoder/model.safetensors",
        "prior/image_encoder/config.json",
        "prior/scheduler/scheduler_config.json",
        "decoder/unet/diffusion_pytorch_model.safetensors",
        "decoder/movq/diffusion_pytorch_model.safetensors",
        "decoder/movq/config.json",
        "operators/models/texturing/learned_prior.pth",
    ],
)
@pytest.mark.parametrize("fault", ["missing", "cut short", "empty"])
def test_weights_missing_or_cut_short_are_named(
    refused: Callable[..., str],
    tiny: Path,
    mug: Path,
    wood: Path,
    tmp_path: Path,
    part: str,
    fault: str,
) -> None:
    stack = tmp_path / "broken"
    shutil.copytree(tiny, stack)
    body = (stack / part).read_bytes()
    (stack / part).unlink()
    if fault != "missing":
        (stack / part).write_bytes(body[: len(body) // 2] if fault == "cut short" else b"")
    said = refused("apply", "texturing", mug, wood, "--stack", stack, "--steps", "1", status=1)
    assert "broken" in said


def test_a_fault_of_ours_is_one_line_and_told_in_full_with_debug(
    run: Run, monkeypatch: pytest.MonkeyPatch, mug: Path, wood: Path, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(Engine, "load", fail)
    monkeypatch.chdir(tmp_path)
    status, _, err = run("apply", "texturing", mug, wood)
    assert status == 1 and "unexpected RuntimeError: two lines" in err and "Traceback" not in err
    status, _, err = run("apply", "texturing", mug, wood, "--debug")
    assert status == 1 and "Traceback" in err
    assert sorted(tmp_path.iterdir()) == [mug, wood]


def test_nothing_is_left_when_rendering_fails(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tiny: Path,
    mug: Path,
    wood: Path,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise WeightsError("the decoder is gone")

    monkeypatch.setattr(Engine, "render", fail)
    said = refused("apply", "texturing", mug, wood, "--stack", tiny, "--steps", "1", status=1)
    assert "the decoder is gone" in said


def test_an_interrupted_command_is_quiet_and_leaves_nothing(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tiny: Path,
    mug: Path,
    wood: Path,
    tmp_path: Path,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "render", interrupt)
    monkeypatch.chdir(tmp_path)
    status, said, err = run("apply", "texturing", mug, wood, "--stack", tiny, "--steps", "1")
    assert (status, said) == (130, "") and "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == [mug, wood]


def test_ctrl_c_ends_a_process_with_status_130_and_no_traceback(
    tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pops", "apply", "texturing", mug, wood]
    flags = ["--stack", tiny, "--seeds", ",".join(map(str, range(256))), "--render-steps", "1000"]
    process = subprocess.Popen(
        [*map(str, command + flags)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("loading")
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # A library that is being loaded may let the signal itself end the process, of which a shell
    # says 130 too.
    assert process.returncode in (130, -signal.SIGINT) and "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == [mug, wood]


def test_a_process_says_its_error_on_stderr_and_exits_with_its_status(tmp_path: Path) -> None:
    (tmp_path / "bad.png").touch()
    done = pops_process("apply", "texturing", "bad.png", "_", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    said = "pops: error: bad.png is empty (0 bytes): use a PNG, JPEG or WebP picture\n"
    assert done.stderr == said
    done = pops_process("apply", "txturing", "a", "b", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


# With the pocket weights


def test_pocket_sheet_draws_into_its_folder(run: Run, tmp_path: Path) -> None:
    status, said, _ = run("pocket", "sheet", "--out", tmp_path / "sheets")
    paths = [Path(line) for line in said.splitlines()]
    assert status == 0 and paths
    assert all(path.parent == tmp_path / "sheets" and path.is_file() for path in paths)


def test_pocket_results_draws_a_sheet_of_an_operator(run: Run, tmp_path: Path) -> None:
    flags = ["--operator", "scene", "--count", "2", "--out", tmp_path / "results"]
    status, said, _ = run("pocket", "results", *flags)
    assert (status, said.strip()) == (0, str(tmp_path / "results" / "pocket-scene.jpg"))
    with Image.open(tmp_path / "results" / "pocket-scene.jpg") as sheet:
        assert sheet.width > 2 * 160


def test_the_demo_shows_every_operator_and_a_page_of_all(run: Run, tmp_path: Path) -> None:
    quick = ["--seeds", "18", "--render-steps", "2", "--steps", "4"]
    status, said, _ = run("demo", "--out", tmp_path / "demo", "--pairs", "mug+wood", *quick)
    assert status == 0
    assert said.splitlines()[-1].startswith(f"Look at {tmp_path / 'demo' / 'index.html'}")
    page = (tmp_path / "demo" / "index.html").read_text()
    for name in (*OPERATORS, "composition"):
        assert f'src="{name}.jpg"' in page
        with Image.open(tmp_path / "demo" / f"{name}.jpg") as figure:
            assert figure.width > 3 * 200
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "index.html",
        *(f"{name}.jpg" for name in (*OPERATORS, "composition")),
    }


def test_every_picture_of_the_demo_ships() -> None:
    from pops.cli.demo import FIGURES, _asset, _pair
    from pops.settings.commands import DemoConfig

    requests = [_pair(pair) for pair in DemoConfig().pairs]
    requests += [request for part in FIGURES for request in part.requests]
    for names, _ in requests:
        for name in filter(None, names):
            place = _asset(name)
            assert place is not None and place.is_file(), name


def test_apply_on_shipped_pictures_says_no_warning(tmp_path: Path) -> None:
    inputs = [ROOT / "assets/objects/mug.png", ROOT / "assets/textures/wood.png"]
    done = pops_process("apply", "texturing", *inputs, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert Path(done.stdout.split("  (")[0]).is_file()


# Names of outputs


def test_long_names_lose_no_results(
    run: Run, tiny: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = "木製の椅子の写真" * 10
    picture(inputs / f"{longest}.png", (1, 2, 3))
    picture(inputs / "हिन्दी.png", (3, 2, 1))
    flags = ["--stack", tiny, "--steps", "1", "--render-steps", "1", "--seeds", 2**63 - 1]
    assert run("apply", "texturing", f"{longest}.png", "हिन्दी.png", *flags, "--out", "a")[0] == 0
    assert len(list((inputs / "a").iterdir())) == 3
    text = f"texturing('{longest}.png', 'हिन्दी.png')"
    assert run("run", text, *flags, "--out", "b")[0] == 0
    assert (inputs / "b" / "input_हिन्दी.safetensors").is_file()
    assert len(list((inputs / "b").iterdir())) == 5


def test_texts_of_symbols_alone_have_files_of_their_own(
    run: Run, tiny: Path, mug: Path, tmp_path: Path
) -> None:
    flags = ["--stack", tiny, "--steps", "1", "--render-steps", "1", "--seeds", "1"]
    for text in ("🎉", "🎈"):
        assert (
            run("apply", "instruct", mug, "--text", text, *flags, "--out", tmp_path / "o")[0] == 0
        )
    assert len(list((tmp_path / "o").glob("*.jpg"))) == 2


def test_of_many_slots_only_those_that_are_given_are_named(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    flags = ["--stack", tiny, "--steps", "1", "--render-steps", "1", "--seeds", "1"]
    slots = ["_"] * 10
    weights = ["--weights", GOLDEN / "operators/models/union/learned_prior.pth"]
    status = run("apply", "clothes", mug, *slots, wood, *weights, *flags, "--out", tmp_path / "o")[
        0
    ]
    assert status == 0
    assert (tmp_path / "o" / "clothes_hat-mug_scarf-wood.jpg").is_file()


def test_what_is_not_finite_is_never_written(
    refused: Callable[..., str], tiny: Path, tmp_path: Path, wood: Path
) -> None:
    Embeddings(torch.full((1, 32), 1e37)).save(tmp_path / "huge.safetensors")
    flags = ["--stack", tiny, "--steps", "2", "--render-steps", "1"]
    for command in (
        ["apply", "texturing", "huge.safetensors", wood],
        ["run", "scene(texturing('huge.safetensors', 'wood.png'), 'wood.png')"],
        ["run", "mean('huge.safetensors', 'wood.png')"],
    ):
        said = refused(*command, *flags, status=1)
        assert "huge.safetensors" in said and "is not finite" in said


# Inputs by the names of their slots


def test_an_input_may_be_given_by_the_name_of_its_slot(
    run: Run, tiny: Path, mug: Path, wood: Path, tmp_path: Path
) -> None:
    flags = ["--stack", tiny, "--steps", "1", "--render-steps", "1", "--seeds", "1"]
    by_place, by_name = tmp_path / "place", tmp_path / "name"
    assert run("apply", "texturing", mug, wood, *flags, "--out", by_place)[0] == 0
    slots = ["--texture", wood, f"--object={mug}"]
    assert run("apply", "texturing", *slots, *flags, "--out", by_name)[0] == 0
    for path in by_place.iterdir():
        assert path.read_bytes() == (by_name / path.name).read_bytes()
    said = run("apply", "clothes", "--left-shoe", "a.png", "--print_config")[1]
    assert "left_shoe: a.png\n" in said
    (tmp_path / "outfit.yaml").write_text(said)
    assert run("apply", "--config_path", tmp_path / "outfit.yaml", "--print_config")[1] == said


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["texturing", "a", "b", "--objekt", "c"], "unknown flag --objekt: did you mean --object?"),
        (["texturing", "a", "b", "--sedes", "3"], "unknown flag --sedes: did you mean --seeds?"),
        (["texturing", "a", "--object", "b"], "object is given twice"),
        (["texturing", "--object", "b"], "texturing takes 2 inputs"),
        (["clothes", "--hat"], "--hat takes a value"),
    ],
)
def test_a_wrong_slot_is_one_line_and_status_2(
    refused: Callable[..., str], arguments: Sequence[str], says: str
) -> None:
    assert says in refused("apply", *arguments, status=2)


def test_ctrl_c_says_that_the_same_command_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(config: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pops.cli.pocket.pocket_sheet", stop)
    assert run("pocket", "sheet") == (130, "", "pops: stopped\n")
    monkeypatch.setattr("pops.data.cache.build.embed", stop)
    status, _, err = run("embed", "--dataset_path", "x")
    assert (status, err) == (130, "pops: stopped: the same command goes on where it stopped\n")


def test_in_a_grid_the_rest_goes_on_without_what_is_not_finite(
    run: Run, tiny: Path, inputs: Path
) -> None:
    Embeddings(torch.full((1, 32), 1e37)).save(inputs / "objects" / "huge.safetensors")
    text = "scene(texturing('objects', 'wood.png'), 'beach.png')"
    flags = ["--stack", tiny, "--seeds", "18", *QUICK, "--out", "o"]
    status, _, err = run("run", text, *flags)
    assert status == 1 and "left out: the embedding of texturing('objects/huge" in err
    made = {path.name for path in (inputs / "o").glob("scene*.png")}
    assert made == {f"scene_texturing_{name}_wood_beach_s18_r0.png" for name in ("car", "hat")}
    assert not list((inputs / "o").glob("*texturing_huge*"))
    assert len(list((inputs / "o").glob("*.jpg"))) == 1  # the grid


@pytest.mark.parametrize("trees", ["auto", "all"])
def test_in_a_grid_the_rest_goes_on_where_one_picture_is_not_finite(
    run: Run, tiny: Path, inputs: Path, trees: str
) -> None:
    Embeddings(torch.full((1, 32), 1e37)).save(inputs / "objects" / "huge.safetensors")
    flags = ["--stack", tiny, *QUICK, "--render-seeds", "0,1", "--trees", trees, "--out", "o"]
    status, _, err = run("run", "mean('objects', 'wood.png')", *flags)
    assert status == 1
    lines = [line for line in err.splitlines() if line.startswith("left out: ")]
    assert lines and all("a picture of mean('objects/huge" in line for line in lines)
    made = {path.name for path in (inputs / "o").glob("mean*.png")}
    assert made == {
        f"mean_{name}_wood_0.5_r{seed}.png" for name in ("car", "hat") for seed in (0, 1)
    }
    trees_made = {path.name for path in (inputs / "o").glob("*_tree.jpg")}
    assert len(trees_made) == (2 if trees == "all" else 0)
    assert len(list((inputs / "o").glob("*.jpg"))) == 1 + len(trees_made)
    assert (inputs / "o" / "mean_huge_wood_0.5.safetensors").is_file()  # the embedding is finite
