"""The published commands: what they write, that they go on, and what wrong settings get."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from benchmarks.models import tiny_sdxl
from pops.compat import infer_binary, infer_clothes, infer_instruct
from pops.compat.config import BinaryConfig
from pops.compat.figure import Figure
from pops.compat.strips import Strip, StripInput, list_strips
from pops.engine import Engine
from pops.figures import Cell
from pops.io.embeddings import Embeddings, load_embeddings, save_embeddings
from pops.io.loading import quietly
from pops.operators import TEXTURING
from pops.render.depth import DepthRenderer
from pops.render.ip_adapter import IPAdapterRenderer
from pops.settings.rendering import DecoderSettings
from pops.stacks.clip import ImageEncoder

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
COMMANDS = {
    "infer_binary": infer_binary,
    "infer_instruct": infer_instruct,
    "infer_clothes": infer_clothes,
}
CONFIGS = sorted((ROOT / "configs" / "infer").rglob("*.yaml"))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden decoder, rendering small pictures in two steps."""
    folder = tmp_path_factory.mktemp("models") / "decoder"
    shutil.copytree(GOLDEN / "kandinsky-tiny-decoder", folder)
    (folder / "render.json").write_text(json.dumps({"steps": 2, "guidance": 4.0, "size": 32}))
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of the golden pictures: a.png, b.png and c.png."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name in "abc":
        shutil.copy(GOLDEN / "inputs" / f"input_{name}.png", folder / f"{name}.png")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    out: Path,
    decoder: Path,
) -> Run:
    """Runs a command with a settings file of local paths, and flags; (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *flags: str, **settings: Any) -> tuple[int, str, str]:
        path = settings_file(tmp_path, decoder, out, **settings)
        status = COMMANDS[command]([f"--config_path={path}", *flags])
        return status, *capsys.readouterr()

    return call


def settings_file(
    folder: Path, decoder: Path, out: Path, operator: str = "texturing", **settings: Any
) -> Path:
    """A settings file like the published ones, with local paths in place of repositories."""
    own = {
        "prior_path": f"models/{operator}/learned_prior.pth",
        "prior_repo": str(GOLDEN / "operators"),
        "kandinsky_prior_repo": str(GOLDEN / "kandinsky-tiny-prior"),
        "kandinsky_decoder_repo": str(decoder),
        "output_dir_name": str(out),
        "prior_guidance_scale": [8],
        "unet_seeds": [0],
    }
    paths = {
        key: str(value) if isinstance(value, Path) else value for key, value in settings.items()
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(own | paths))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def script(command: str, *flags: object, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", f"scripts.{command}", *map(str, flags)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, **options)


# The numbers


@pytest.mark.parametrize(
    "command, operator, scale, files, flags, case",
    [
        ("infer_binary", "texturing", 8, "a_b", [], "texturing_s18"),
        ("infer_binary", "texturing", 8, "a_b", ["--prior_seeds=[42]"], "texturing_s42"),
        ("infer_binary", "union", 8, "a_b", [], "union_s18"),
        ("infer_binary", "scene", 1, "a_b", ["--prior_seeds=[42,18]"], "scene_s18"),
        ("infer_binary", "texturing", 8, "a_b", ["--drop_condition_a"], "texturing_drop_a_s18"),
        (
            "infer_binary",
            "texturing",
            8,
            "a_b",
            ["--drop_condition_b=True"],
            "texturing_drop_b_s18",
        ),
        ("infer_instruct", "instruct", 1, "a_shiny", [], "instruct_shiny_s18"),
        ("infer_instruct", "instruct", 4, "a_shiny", [], "instruct_shiny_cfg4_s18"),
        ("infer_instruct", "instruct", 1, "a_enormous mug", [], "instruct_enormous_mug_s18"),
        ("infer_clothes", "clothes", 4, "inputs", [], "clothes_s18"),
    ],
)
def test_the_golden_numbers_come_out(
    run: Run,
    inputs: Path,
    out: Path,
    expected: dict[str, torch.Tensor],
    command: str,
    operator: str,
    scale: float,
    files: str,
    flags: Sequence[str],
    case: str,
) -> None:
    places: dict[str, Any] = {"dir_a": inputs / "a.png"}
    if command == "infer_binary":
        places["dir_b"] = inputs / "b.png"
    elif command == "infer_instruct":
        places["texts"] = ["shiny", "enormous mug"]
    else:
        places["dir_a"] = inputs
    settings = {"operator": operator, "prior_guidance_scale": [scale], "prior_seeds": [18]}
    status, said, _ = run(command, *flags, **places, **settings)
    assert status == 0 and str(out) in said
    seed = case.rpartition("_s")[2]
    made = torch.load(out / f"{files}_s_{seed}_cfg_{float(scale)}_img_emb.pth", weights_only=True)
    torch.testing.assert_close(
        made["image_embeds"], expected[f"operator/{case}"].reshape(1, -1), atol=1e-4, rtol=0
    )


def test_a_composition_of_two_commands_gives_the_golden_numbers(
    run: Run, inputs: Path, out: Path, tmp_path: Path, expected: dict[str, torch.Tensor]
) -> None:
    assert run("infer_binary", dir_a=inputs / "a.png", dir_b=inputs / "b.png")[0] == 0
    flags = ["--file_exts_a=[.pth]", "--name_filter_a=[s_18]", "--prior_guidance_scale=[1]"]
    more = {"dir_a": out, "dir_b": inputs / "c.png", "output_dir_name": tmp_path / "second"}
    assert run("infer_binary", *flags, operator="scene", **more)[0] == 0
    name = "a_b_s_18_cfg_8.0_img_emb_c_s_18_cfg_1.0_img_emb.pth"
    made = load_embeddings(tmp_path / "second" / name).image_embeds
    golden = expected["operator/scene_of_texturing_s18"].reshape(1, -1)
    torch.testing.assert_close(made, golden, atol=1e-4, rtol=0)


# What is written


def test_every_pair_gets_its_embeddings_and_a_strip_under_the_published_names(
    run: Run, inputs: Path, out: Path
) -> None:
    (inputs / "c.png").rename(inputs / "c.txt")
    Image.new("RGB", (20, 20)).save(inputs / "d.WEBP")
    flags = ["--prior_guidance_scale=[1,8]", "--name_filter_a=[a,b]"]
    assert run("infer_binary", *flags, dir_a=inputs, dir_b=inputs)[0] == 0
    pairs = [f"{a}_{b}" for a in "ab" for b in "abd"]
    embeddings = [
        f"{pair}_s_{seed}_cfg_{scale}_img_emb.pth"
        for pair in pairs
        for seed in (18, 42)
        for scale in ("1.0", "8.0")
    ]
    assert names(out) == sorted([f"{pair}.jpg" for pair in pairs] + embeddings)


def test_an_embedding_file_tells_how_it_was_made(run: Run, inputs: Path, out: Path) -> None:
    assert run("infer_binary", dir_a=inputs / "a.png", dir_b=inputs / "b.png")[0] == 0
    made = load_embeddings(out / "a_b_s_42_cfg_8.0_img_emb.pth")
    assert (len(made), made.seeds, made.guidance) == (1, (42,), 8.0)
    assert made.expressions[0].startswith("texturing(") and "b.png" in made.expressions[0]


def test_a_strip_shows_inputs_results_and_mean_in_the_published_order(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = strips_shown(monkeypatch)
    flags = ["--vis_mean", "--prior_guidance_scale=[1,8]", "--unet_seeds=[0,1]"]
    assert run("infer_binary", *flags, dir_a=inputs / "a.png", dir_b=inputs / "b.png")[0] == 0
    results = [
        f"prior_s {seed}, cfg {scale}, unet_s {unet_seed}"
        for seed in (18, 42)
        for scale in (1, 8)
        for unet_seed in (0, 1)
    ]
    assert [cell.caption for cell in shown[0]] == ["objects", "textures", *results, "mean"]


def test_pictures_of_a_strip_are_those_the_engine_renders(
    run: Run, inputs: Path, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = strips_shown(monkeypatch)
    flags = ["--vis_mean", "--unet_seeds=[3,1]", "--prior_seeds=[18]", "--drop_condition_a"]
    assert run("infer_binary", *flags, dir_a=inputs, dir_b=inputs / "b.png")[0] == 0
    engine = Engine.load("pocket", "cpu", prior=GOLDEN / "kandinsky-tiny-prior", decoder=decoder)
    weights = GOLDEN / "operators/models/texturing/learned_prior.pth"
    b = inputs / "b.png"
    made = engine.apply("texturing", [(None, b)], seeds=[18], guidance=8.0, weights=weights)
    dropped = engine.mean([(engine.stack.clip_stats["clip_mean"], b)])
    wanted = [*engine.render(made, seeds=[3, 1]), *engine.render(dropped, seeds=[1])]
    assert len(shown) == 3
    for cells in shown:
        assert cells[0].image == "" and cells[0].note == "dropped"
        for cell, picture in zip(cells[2:], wanted, strict=True):
            assert np.abs(np.subtract(cell.image, picture, dtype=int)).max() <= 1


def test_an_input_that_is_an_embedding_is_shown_rendered(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = strips_shown(monkeypatch)
    published = GOLDEN / "inputs" / "texturing_ab_s_18_cfg_8_img_emb.pth"
    save_embeddings(Embeddings(torch.randn(1, 32)), inputs / "own.safetensors")
    shutil.copy(published, inputs / "theirs.pth")
    flags = ["--file_exts_a=[.pth,.safetensors]"]
    assert run("infer_binary", *flags, dir_a=inputs, dir_b=inputs / "b.png")[0] == 0
    assert [cells[0].note for cells in shown] == ["own", "theirs"]
    assert all(cells[0].caption == "objects (embedding)" for cells in shown)
    assert all(isinstance(cells[0].image, Image.Image) for cells in shown)


def strips_shown(monkeypatch: pytest.MonkeyPatch) -> list[list[Cell]]:
    """The cells of every strip that is drawn from now on."""
    shown: list[list[Cell]] = []
    from pops.compat import figure

    def draw(rows: Sequence[Sequence[Cell]], size: int, widest: int) -> Image.Image:
        shown.append([cell for row in rows for cell in row])
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(figure, "strips", draw)
    return shown


def test_a_long_strip_continues_below(engine: Engine) -> None:
    from pops.compat.config import BinaryConfig

    figure = Figure(BinaryConfig(stack="pocket"), engine, {})
    job = Strip("many", (StripInput("left out", None, dropped=True),))
    strip = figure.strip(job, [Cell(Image.new("RGB", (512, 512)), "result")] * 150)
    assert strip.width < 65_535 < strip.width * 3


@pytest.fixture(scope="module")
def sdxl_stack(tmp_path_factory: pytest.TempPathFactory, decoder: Path) -> Path:
    """A stack in a folder, with tiny SDXL, IP-Adapter, ControlNet and DPT models beside it."""
    stack = tmp_path_factory.mktemp("sdxl") / "stack"
    with quietly():
        tiny_sdxl.make_all(stack, GOLDEN / "kandinsky-tiny-prior" / "tokenizer")
    (stack / "prior").symlink_to(GOLDEN / "kandinsky-tiny-prior")
    (stack / "decoder").symlink_to(decoder)
    (stack / "operators").symlink_to(GOLDEN / "operators")
    return stack


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDXL renderers' own settings are 50 steps of 1024 pixels."""
    few = DecoderSettings(steps=2, guidance=5.0, size=64)
    monkeypatch.setattr(IPAdapterRenderer, "settings", few)
    monkeypatch.setattr(DepthRenderer, "settings", few)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("command", COMMANDS)
def test_sdxl_draws_beside_the_decoder_what_the_engine_renders(
    run: Run, inputs: Path, sdxl_stack: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    shown = strips_shown(monkeypatch)
    a, b = inputs / "a.png", inputs / "b.png"
    operator, scale, given = {
        "infer_binary": ("scene", 1, {"dir_b": b}),
        "infer_instruct": ("instruct", 1, {"texts": ["shiny"]}),
        "infer_clothes": ("clothes", 4, {}),
    }[command]
    flags = ["--use_ipadapter", "--use_depth", "--unet_seeds=[0,1]", "--prior_seeds=[18]"]
    flags += [f"--stack={sdxl_stack}", f"--operator={operator}", f"--prior_guidance_scale={scale}"]
    own = {"prior_repo": None, "prior_path": None, "dir_a": a}
    for name in ("kandinsky_prior_repo", "kandinsky_decoder_repo"):
        flags.append(f"--{name}=kandinsky-community/kandinsky-2-2-{name.split('_')[1]}")
    status, _, err = run(command, *flags, **own | given)
    assert status == 0, err
    (cells,) = shown
    results = [cell for cell in cells if "prior_s" in cell.caption]
    kinds = {"kandinsky": "", "ip_adapter": " IP-Adapter", "depth": " IP-Adapter Depth"}
    start = f"prior_s 18, cfg {scale}, unet_s"
    assert [cell.caption for cell in results] == [
        f"{start} {seed}{kind}" for seed in (0, 1) for kind in kinds.values()
    ]
    engine = Engine.load(sdxl_stack, "cpu")
    request = (a, b) if command == "infer_binary" else (a,)
    text = "shiny" if operator == "instruct" else None
    made = engine.apply(operator, [request], text=text, seeds=[18], guidance=scale)
    for at, name in enumerate(kinds):
        depth_of = [a] if name == "depth" else None
        wanted = engine.render(made, seeds=[0, 1], renderer=name, depth_of=depth_of)
        for cell, picture in zip(results[at::3], wanted, strict=True):
            assert np.abs(np.subtract(cell.image, picture, dtype=int)).max() <= 1


def test_a_renderer_of_other_embeddings_is_refused_before_any_work(
    run: Run, inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "apply", None)
    status, _, err = run("infer_binary", "--use_ipadapter", dir_a=inputs, dir_b=inputs)
    assert status == 2 and "takes embeddings of 1280 numbers" in err and names(out) == []


def test_names_are_kept_apart_and_within_what_file_systems_take(
    run: Run, inputs: Path, out: Path
) -> None:
    shutil.copy(inputs / "a.png", inputs / "a.webp")
    shutil.copy(inputs / "a.png", inputs / f"{'é' * 100}.png")
    settings = {"operator": "instruct", "dir_a": inputs, "texts": ["a/b", "x" * 60]}
    assert run("infer_instruct", "--prior_seeds=[18]", **settings)[0] == 0
    strips = [name for name in names(out) if name.endswith(".jpg")]
    assert len(strips) == 5 * 2 and len(names(out)) == 2 * len(strips)
    assert "a_a-b.jpg" in strips
    assert all(len(name.encode()) < 255 for name in names(out))


# Garments


@pytest.fixture
def garments(tmp_path: Path) -> Path:
    folder = tmp_path / "outfit"
    for name, colour in (("skirt_red", "red"), ("hat", "blue"), ("Left Shoe 2", "black")):
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (20, 30), colour).save(folder / f"{name}.png")
    return folder


def test_a_garment_named_after_a_slot_goes_there(run: Run, garments: Path, out: Path) -> None:
    assert (
        run("infer_clothes", operator="clothes", dir_a=garments, prior_guidance_scale=[4])[0] == 0
    )
    made = load_embeddings(out / "outfit_s_18_cfg_4.0_img_emb.pth")
    words = made.expressions[0].removeprefix("clothes(").removesuffix(")").split(", ")
    assert len(words) == 12 and words.count("_") == 9
    assert [at for at, word in enumerate(words) if word != "_"] == [0, 4, 8]
    assert "hat.png" in words[0] and "skirt_red.png" in words[4] and "Left Shoe 2.png" in words[8]


def test_a_folder_for_each_slot_makes_every_outfit(run: Run, tmp_path: Path, out: Path) -> None:
    for slot, wanted in (("skirt", ["red", "blue"]), ("hat", ["green", "black", "white"])):
        (tmp_path / "wardrobe" / slot).mkdir(parents=True)
        for colour in wanted:
            Image.new("RGB", (20, 30), colour).save(tmp_path / "wardrobe" / slot / f"{colour}.png")
    assert run("infer_clothes", operator="clothes", dir_a=tmp_path / "wardrobe")[0] == 0
    strips = [name for name in names(out) if name.endswith(".jpg")]
    assert len(strips) == 6 and "black_blue.jpg" in strips


@pytest.mark.parametrize(
    "files, says",
    [
        (["hat", "mitten"], "mitten has no slot, since it is named after no slot"),
        (["hat_1", "hat_2"], "hat is taken twice"),
        ([f"garment {at}" for at in range(13)], "clothes takes 1 to 12 inputs"),
    ],
)
def test_a_garment_without_a_slot_is_named(
    run: Run, tmp_path: Path, files: Sequence[str], says: str
) -> None:
    (tmp_path / "outfit").mkdir()
    for name in files:
        Image.new("RGB", (8, 8)).save(tmp_path / "outfit" / f"{name}.png")
    status, _, err = run("infer_clothes", operator="clothes", dir_a=tmp_path / "outfit")
    assert status == 2 and says in err


# Going on


def test_a_grid_encodes_each_picture_once(
    run: Run, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = ImageEncoder.encode

    def count(self: ImageEncoder, pictures: Sequence[Image.Image]) -> torch.Tensor:
        encoded.append(len(pictures))
        return encode(self, pictures)

    monkeypatch.setattr(ImageEncoder, "encode", count)
    textures = inputs.parent / "textures"
    shutil.copytree(inputs, textures)
    assert run("infer_binary", dir_a=inputs, dir_b=textures)[0] == 0
    assert sum(encoded) == 3 + 3


def test_a_rerun_skips_what_is_complete_and_loads_nothing(
    run: Run, inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"dir_a": inputs / "a.png", "dir_b": inputs}
    assert run("infer_binary", **places)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "load", None)
        status, said, _ = run("infer_binary", **places)
    assert (status, said) == (0, f"{out}: 0 made, 3 were complete\n")
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert "3 made" in run("infer_binary", "--overwrite", **places)[1]
    assert all(path.stat().st_mtime_ns > time for path, time in before.items())


def test_an_input_may_be_a_text_which_is_kept_beside_the_results(
    run: Run, inputs: Path, out: Path, decoder: Path
) -> None:
    given = {"dir_a": inputs / "a.png", "dir_b": "text:a shiny cat", "prior_seeds": [3], "steps": 2}
    status, said, _ = run("infer_binary", **given)
    assert status == 0 and "1 made" in said
    (file,) = (out / "texts").iterdir()
    assert file.name == "a-shiny-cat_ancestral_2.safetensors"
    engine = Engine.load(
        "kandinsky-2.2",
        "cpu",
        prior=GOLDEN / "kandinsky-tiny-prior",
        decoder=decoder,
        operators=GOLDEN / "operators",
    )
    words = engine.text("a shiny cat", seeds=[3], steps=2)
    torch.testing.assert_close(load_embeddings(file).image_embeds, words.image_embeds)
    made = engine.apply("texturing", [(inputs / "a.png", words)], seeds=[3], steps=2, guidance=8.0)
    (embedding,) = out.glob("a_a-shiny-cat*.pth")
    torch.testing.assert_close(
        load_embeddings(embedding).image_embeds, made.image_embeds, rtol=0, atol=1e-4
    )
    before = file.stat().st_mtime_ns
    status, said, _ = run("infer_binary", **given)
    assert "0 made, 1 were complete" in said and file.stat().st_mtime_ns == before
    assert run("infer_binary", **{**given, "prior_seeds": [4]})[0] == 0
    assert file.stat().st_mtime_ns > before
    assert run("infer_binary", **{**given, "dir_b": "text: "})[0] == 2


@pytest.mark.parametrize("change", ["input", "embedding", "strip", "seed", "mean"])
def test_a_rerun_makes_again_what_is_missing_or_would_differ(
    run: Run, inputs: Path, out: Path, change: str
) -> None:
    places = {"dir_a": inputs / "a.png", "dir_b": inputs}
    assert run("infer_binary", **places)[0] == 0
    if change == "input":
        shutil.copy(inputs / "c.png", inputs / "b.png")
    elif change == "embedding":
        (out / "a_b_s_18_cfg_8.0_img_emb.pth").unlink()
    elif change == "strip":
        Image.new("RGB", (8, 8)).save(out / "a_b.jpg")
    flags = {"seed": ["--unet_seeds=[7]"], "mean": ["--vis_mean"]}.get(change, [])
    said = run("infer_binary", *flags, **places)[1]
    assert said.endswith("3 made\n" if flags else "1 made, 2 were complete\n")


def test_unreadable_inputs_are_named_and_left_out_and_the_rest_is_made(
    run: Run, inputs: Path, out: Path
) -> None:
    (inputs / "a2.jpg").write_text("no picture")
    (inputs / "b2.pth").write_bytes(b"no embedding")
    body = (inputs / "c.png").read_bytes()
    (inputs / "c2.png").write_bytes(body[: len(body) // 2])
    save_embeddings(Embeddings(torch.zeros(1, 9)), inputs / "d2.safetensors")
    places = {"dir_a": inputs, "dir_b": inputs / "b.png"}
    status, said, err = run("infer_binary", **places)
    assert status == 1 and said == f"{out}: 3 made\n"
    summary = err.split("4 left out, since 4 of the inputs cannot be used:\n")[1].splitlines()
    assert len(summary) == 4
    for line, name in zip(summary, ["a2.jpg", "b2.pth", "c2.png", "d2.safetensors"], strict=True):
        assert name in line and "Traceback" not in line
    assert [name for name in names(out) if name.endswith(".jpg")] == [f"{x}_b.jpg" for x in "abc"]
    shutil.copy(inputs / "c.png", inputs / "c2.png")
    status, said, _ = run("infer_binary", **places)
    assert (status, said) == (1, f"{out}: 1 made, 3 were complete\n")


def test_a_dropped_input_need_not_be_readable_and_is_not_made_twice(
    run: Run, inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    apply = Engine.apply

    def count(self: Engine, operator: str, requests: Sequence[Any], **options: Any) -> Embeddings:
        asked.append(len(requests))
        return apply(self, operator, requests, **options)

    monkeypatch.setattr(Engine, "apply", count)
    (inputs / "b.png").write_text("no picture")
    assert run("infer_binary", "--drop_condition_a", dir_a=inputs, dir_b=inputs / "c.png")[0] == 0
    assert asked == [1] and len(names(out)) == 3 * 3
    flags = ["--drop_condition_a", "--dir_a=null"]
    assert run("infer_binary", *flags, dir_a=inputs, dir_b=inputs / "c.png")[0] == 0
    assert (out / "_c.jpg").is_file()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_run_leaves_whole_files_and_the_next_run_goes_on(
    tmp_path: Path, inputs: Path, out: Path, decoder: Path
) -> None:
    for at in range(9):
        Image.new("RGB", (20, 20), (at * 20, 90, 90)).save(inputs / f"x{at}.png")
    places = {"dir_a": inputs, "dir_b": inputs / "b.png"}
    path = settings_file(
        tmp_path, decoder, out, **places, prior_seeds=[18], unet_seeds=list(range(8))
    )
    command = [sys.executable, "-m", "scripts.infer_binary", f"--config_path={path}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(out.glob("*.jpg")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    whole = {path: path.read_bytes() for path in out.iterdir() if path.name[0] != "."}
    strips = [path for path in whole if path.suffix == ".jpg"]
    assert 0 < len(strips) < 12
    for path in whole:
        if path.suffix == ".pth":
            assert load_embeddings(path).image_embeds.isfinite().all()
        else:
            with Image.open(path) as strip:
                strip.load()
    done = script("infer_binary", f"--config_path={tmp_path / 'settings.yaml'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: {12 - len(strips)} made, {len(strips)} were complete\n"
    assert len([name for name in names(out) if name[0] != "."]) == 24
    assert all(path.read_bytes() == whole[path] for path in strips)
    assert "[" in done.stderr and "<" in done.stderr  # the bar tells the time left


# Settings


@pytest.mark.parametrize(
    "path", CONFIGS, ids=lambda path: str(path.relative_to(CONFIGS[0].parents[0]))
)
def test_every_shipped_settings_file_is_understood(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = {"instruct": "infer_instruct", "clothes": "infer_clothes"}.get(
        path.stem, "infer_binary"
    )
    flags = [f"--config_path={path}", "--stack=pocket", "--print_config"]
    assert COMMANDS[command](flags) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert yaml.safe_load(path.read_text()).items() <= (printed | {"stack": "pocket"}).items()


def test_flags_win_over_the_settings_file_wherever_they_stand(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text("prior_path: p\nprior_seeds: [1]\nvis_mean: true\n")
    for flags in (
        ["--prior_seeds=[2,3]", "--vis_mean=false", "--config_path", "s.yaml"],
        ["--config_path=s.yaml", "--prior-seeds", "2,3", "--vis_mean", "False"],
    ):
        assert infer_binary([*flags, "--print_config"]) == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        assert printed["prior_seeds"] == [2, 3] and printed["vis_mean"] is False


def test_null_unsets(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"name_filter_a": ["a"], "dir_b": "b"}
    flags = ["--name_filter_a=null", "--prior_repo=null", "--dir_b=null", "--print_config"]
    status, said, _ = run("infer_binary", *flags, **given)
    printed = yaml.safe_load(said)
    assert status == 0
    assert [printed[name] for name in ("name_filter_a", "prior_repo", "dir_b")] == [None] * 3


def test_without_texts_every_adjective_is_an_instruction() -> None:
    from pops.compat.config import InstructConfig

    words = InstructConfig(stack="pocket").instructions
    assert len(words) > 50 and {"shiny", "enormous", "aged"} <= set(words)
    assert InstructConfig(stack="pocket", texts=("blue",)).instructions == ("blue",)


def test_one_guidance_need_not_be_a_list(run: Run) -> None:
    said = run("infer_binary", "--prior_guidance_scale=4", "--print_config")[1]
    assert yaml.safe_load(said)["prior_guidance_scale"] == [4.0]
    said = run("infer_binary", "--print_config", prior_guidance_scale=4)[1]
    assert yaml.safe_load(said)["prior_guidance_scale"] == [4.0]


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--dri_a=x", "unknown flag --dri_a: did you mean --dir_a?"),
        ("--unet_sedes=[1]", "unknown flag --unet_sedes: did you mean --unet_seeds?"),
        ("--prior_seeds=[1,x]", "--prior_seeds takes whole numbers"),
        ("--prior_seeds=[-1]", "--prior_seeds must be from 0"),
        ("--prior_guidance_scale=high", "--prior_guidance_scale takes numbers, as in 1,8"),
        (f"--prior_guidance_scale=[{math.inf}]", "--prior_guidance_scale must be from 0 to 100"),
        ("--vis_mean=maybe", "--vis_mean takes true or false, not 'maybe'"),
        ("--dtype=f16", "--dtype takes one of auto, float32"),
        ("--steps=0", "--steps must be from 1"),
        ("--operator=textruing", "did you mean texturing?"),
        ("--operator=instruct", "instruct takes object and a text"),
        ("--sampler=euler", "sampler"),
        ("--dir_a=null", "--dir_a is not given"),
        ("--prior_path=null", "--prior_path is not given"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(
    run: Run, inputs: Path, out: Path, flag: str, says: str
) -> None:
    status, said, err = run("infer_binary", flag, dir_a=inputs / "a.png", dir_b=inputs / "b.png")
    assert (status, said) == (2, "")
    errors = [line for line in err.splitlines() if "infer_binary: error: " in line]
    assert len(errors) == 1 and says in errors[0] and "Traceback" not in err
    assert not out.exists() or not names(out)


def test_a_wrong_name_in_a_settings_file_is_one_line_and_status_2(run: Run) -> None:
    status, _, err = run("infer_instruct", operator="instruct", text=["shiny"])
    assert status == 2
    assert err.startswith("infer_instruct: error: ")
    assert "settings.yaml: unknown setting 'text': did you mean texts?" in err


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--dir_a=gone", "no such file or folder: gone"),
        ("--name_filter_b=[zzz]", "has no file with zzz in its name"),
        ("--file_exts_b=[.bmp]", "that ends in .bmp"),
        ("--prior_path=gone.pth", "gone.pth is missing"),
        ("--kandinsky_prior_repo=./gone", "gone is missing"),
    ],
)
def test_what_is_missing_is_named(run: Run, inputs: Path, flag: str, says: str) -> None:
    status, said, err = run("infer_binary", flag, dir_a=inputs, dir_b=inputs)
    assert (status, said) == (1, "")
    assert says in err and "Traceback" not in err


def test_weights_of_no_known_operator_run_as_any_of_as_many_inputs(
    run: Run, inputs: Path, out: Path, tmp_path: Path, expected: dict[str, torch.Tensor]
) -> None:
    shutil.copy(GOLDEN / "operators/models/union/learned_prior.pth", tmp_path / "step_500000.pth")
    flags = ["--prior_repo=null", "--prior_path=step_500000.pth", "--prior_seeds=[18]"]
    assert run("infer_binary", *flags, dir_a=inputs / "a.png", dir_b=inputs / "b.png")[0] == 0
    made = load_embeddings(out / "a_b_s_18_cfg_8.0_img_emb.pth").image_embeds
    golden = expected["operator/union_s18"].reshape(1, -1)
    torch.testing.assert_close(made, golden, atol=1e-4, rtol=0)


def test_a_stack_that_is_named_takes_the_place_of_the_published_models(
    tmp_path: Path, inputs: Path, out: Path, decoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = tmp_path / "stack"
    shutil.copytree(GOLDEN / "kandinsky-tiny-prior", stack / "prior")
    shutil.copytree(decoder, stack / "decoder")
    shutil.copytree(GOLDEN / "operators", stack / "operators")
    config = ROOT / "configs/infer/scene.yaml"
    flags = [f"--config_path={config}", f"--stack={stack}", f"--output_dir_name={out}"]
    flags += [f"--dir_a={inputs / 'a.png'}", f"--dir_b={inputs / 'b.png'}"]
    assert infer_binary(flags) == 0, capsys.readouterr().err
    assert load_embeddings(out / "a_b_s_18_cfg_1.0_img_emb.pth").expressions[0].startswith("scene(")


# As processes


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_torch(command: str) -> None:
    done = script(command, "--help")
    assert done.returncode == 0 and "examples:" in done.stdout
    code = (
        f"import sys; from pops.compat import {command}; {command}(['--help']);"
        "print(sorted({'torch', 'diffusers', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_process_says_its_error_in_one_line_and_exits_with_its_status() -> None:
    done = script("infer_binary", "--config_path=configs/infer/union.yaml", "--vis_men")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "infer_binary: error: unknown flag --vis_men: did you mean --vis_mean?"
    )
    assert done.stderr.count("\n") == 1


# Bit for bit, and never what is not finite


def test_a_run_that_goes_on_writes_the_bytes_of_one_that_was_not_stopped(
    run: Run, inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("ENCODED", 2), ("SAMPLED", 8), ("MOST_RENDERED", 4)):
        monkeypatch.setattr(f"pops.compat.grid.{name}", number)
    mug = Embeddings(torch.linspace(-1, 1, 32)[None])
    for name in ("d", "e"):
        mug.save(inputs / f"{name}.safetensors")
    places = {"dir_a": inputs, "dir_b": inputs, "prior_guidance_scale": [1, 8]}
    assert run("infer_binary", "--vis_mean", **places)[0] == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    strips = sorted(name for name in whole if name.endswith(".jpg"))
    for gone in (strips[:1], strips[3:5], strips[-7:], strips[::3]):
        for name in gone:
            (out / name).unlink()
        assert run("infer_binary", "--vis_mean", **places)[0] == 0
        assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_an_input_that_is_too_large_is_named_and_the_rest_is_made(
    run: Run, inputs: Path, out: Path
) -> None:
    Embeddings(torch.full((1, 32), 1e37)).save(inputs / "huge.safetensors")
    status, _, err = run("infer_binary", dir_a=inputs, dir_b=inputs / "b.png")
    assert status == 1
    assert "left out: huge_b: the embedding of texturing(" in err and "is not finite" in err
    made = sorted(path.stem for path in out.glob("*.jpg"))
    assert made == ["a_b", "b_b", "c_b"], err
    assert not list(out.glob("huge*"))


def test_results_are_not_written_among_the_inputs(run: Run, inputs: Path) -> None:
    before = sorted(inputs.iterdir())
    for place in (f"{inputs}", f"{inputs}/../{inputs.name}/"):
        flags = [f"--dir_b={inputs}", f"--output_dir_name={place}"]
        status, _, said = run("infer_binary", *flags, dir_a=inputs / "a.png")
        assert status == 2 and "is a folder that is read" in said and "Traceback" not in said
    status, _, said = run("infer_clothes", f"--output_dir_name={inputs / 'made'}", dir_a=inputs)
    assert status == 2 and "is inside a folder that is read" in said
    assert sorted(inputs.iterdir()) == before


def test_a_filter_finds_a_name_however_its_letters_are_composed(inputs: Path) -> None:
    (inputs / "a.png").rename(inputs / "cafe\u0301.png")
    config = BinaryConfig(stack="pocket", dir_a=inputs, dir_b=inputs, name_filter_a=("caf\u00e9",))
    strips = list_strips(config, lambda: TEXTURING)
    assert {strip.inputs[0].path for strip in strips} == {inputs / "cafe\u0301.png"}
