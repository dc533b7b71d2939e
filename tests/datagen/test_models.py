"""The heavy stages, on tiny random models loaded and called as the hub's are."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import datagen
from benchmarks.models import tiny_datagen
from pops.cli import main as cli
from pops.datagen import presets
from pops.datagen.config import ScenesConfig
from pops.datagen.folder.manifest import read_manifest
from pops.datagen.models import diffusion as models
from pops.datagen.models import registry as rows
from pops.datagen.models import vision
from pops.datagen.models.diffusion import (
    ControlNetUnion,
    DepthDiffusion,
    Inpainter,
    Sampling,
    TextToImage,
)
from pops.datagen.models.vision import Foreground, OnnxForeground, Owl, to_detection
from pops.datagen.presets import load_preset
from pops.datagen.sample import encode
from pops.datagen.stages import (
    Depth2Image,
    Detect,
    Detection,
    Inpaint,
    LoadPerson,
    Picture,
    Segment,
    Text2Image,
)
from pops.errors import DataError, UsageError, WeightsError
from pops.io.loading import quietly
from pops.io.machine.placement import HOST

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Folders = dict[str, Path]
SIDE = 32
FEW = Sampling(steps=2, guidance=0.0, size=SIDE)
GUIDED = Sampling(steps=2, guidance=5.0, size=SIDE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Folders:
    tokenizer = golden / "kandinsky-tiny-prior" / "tokenizer"
    with quietly():
        return tiny_datagen.make_all(tmp_path_factory.mktemp("tiny"), tokenizer)


def noise(seed: int, side: int = SIDE) -> Picture:
    values = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Picture(Image.fromarray(values).resize((side, side)))


def spot(side: int = SIDE) -> Picture:
    """A bright square on black, in [8, 24)."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[8:24, 8:24] = 255
    return Picture(Image.fromarray(pixels))


def hole() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:24, 8:24] = True
    return mask


def arrays(pictures: Sequence[Picture]) -> list[np.ndarray]:
    return [np.asarray(picture.image).astype(int) for picture in pictures]


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """The same but for rounding to 8 bits."""
    return a.shape == b.shape and int(np.abs(a - b).max()) <= 1


Make = Callable[[Folders], tuple[Any, list[Any]]]


def _turbo(folders: Folders) -> tuple[Any, list[Any]]:
    stage = TextToImage.load(folders["turbo"], HOST, FEW)
    return stage, [Text2Image("a mug", 1), Text2Image("a hat", 2), Text2Image("a mug", 3)]


def _z_image(folders: Folders) -> tuple[Any, list[Any]]:
    stage = TextToImage.load(folders["z_image"], HOST, FEW)
    return stage, [Text2Image("a mug", 1), Text2Image("a red hat", 2), Text2Image("a mug", 3)]


def _depth(folders: Folders) -> tuple[Any, list[Any]]:
    stage = DepthDiffusion.load(folders["sd2_depth"], HOST, GUIDED)
    return stage, [Depth2Image(noise(i), f"a mug of {i}", i) for i in range(3)]


def _union(folders: Folders) -> tuple[Any, list[Any]]:
    parts = folders["turbo"], folders["control"], folders["depth_anything"]
    stage = ControlNetUnion.load(*parts, HOST, GUIDED)
    return stage, [Depth2Image(noise(i), f"a mug of {i}", i) for i in range(3)]


def _inpaint(folders: Folders) -> tuple[Any, list[Any]]:
    stage = Inpainter.load(folders["inpaint"], HOST, Sampling(3, 5.0, SIDE))
    return stage, [Inpaint(noise(i), hole(), "an empty beach", i) for i in range(3)]


@pytest.mark.parametrize("make", [_turbo, _z_image, _depth, _union, _inpaint])
def test_a_batch_draws_what_its_members_draw_alone(make: Make, folders: Folders) -> None:
    stage, asked = make(folders)
    together = arrays(stage(asked))
    alone = [arrays(stage([request]))[0] for request in asked]
    assert all(picture.shape == (SIDE, SIDE, 3) for picture in together)
    assert all(alike(a, b) for a, b in zip(together, alone, strict=True))
    assert not alike(together[0], together[1])


def test_a_picture_without_depth_is_drawn_too(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, deep = torch.zeros(1, SIDE, SIDE), torch.rand(1, SIDE, SIDE)
    drawn = []
    for depth in (flat, deep):
        stage = DepthDiffusion.load(folders["sd2_depth"], HOST, GUIDED)
        monkeypatch.setattr(stage, "_depth", lambda _, depth=depth: depth)
        drawn.append(arrays(stage([Depth2Image(noise(0), "a mug", 1)]))[0])
    assert drawn[0].std() > 0  # not black
    assert not alike(*drawn)


def test_a_picture_depends_on_its_seed_and_its_prompt(folders: Folders) -> None:
    for make in (_turbo, _z_image):
        stage, _ = make(folders)
        asked = [Text2Image("a mug", 1), Text2Image("a mug", 1), Text2Image("a mug", 2)]
        hat = Text2Image("a very large hat of felt on the beach", 1)
        first, again, other, of_hat = arrays(stage([*asked, hat]))
        assert alike(first, again) and not alike(first, other)
    assert not np.array_equal(first, of_hat)  # the first model's text encoder is too small for it


def test_depth_is_what_another_material_keeps(folders: Folders) -> None:
    for make in (_depth, _union):
        stage, _ = make(folders)
        flat = Picture(Image.new("RGB", (SIDE, SIDE), "white"))
        same = Depth2Image(flat, "wood", 5), Depth2Image(spot(), "wood", 5)
        pictures = arrays([stage([request])[0] for request in same])
        assert not np.array_equal(*pictures)


def test_owl_finds_the_same_alone_as_in_a_batch(folders: Folders) -> None:
    owl = Owl.load(folders["owlv2"], HOST)
    asked = [Detect(noise(i, side=32 + 8 * i), "mug", 0.0) for i in range(4)]
    found = owl(asked)
    assert any(found)
    for request, detection in zip(asked, found, strict=True):
        (alone,) = owl([request])
        assert (alone and alone.box) == (detection and detection.box)
    assert owl([Detect(noise(0), "mug", 1.1)]) == [None]


def test_a_box_is_cut_to_the_picture_in_pixels_of_its_longer_side() -> None:
    wide = Detect(Picture(noise(0).image.resize((40, 20))), "mug", 0.3)
    assert to_detection(wide, 0.5, (0.5, 0.25, 0.5, 0.25)) == Detection((10, 5, 30, 15), 0.5)
    assert to_detection(wide, 0.5, (0.1, 0.4, 0.4, 0.4)) == Detection((0, 8, 12, 20), 0.5)
    assert to_detection(wide, 0.5, (0.5, 0.9, 0.1, 0.1)) is None  # in the padding
    assert to_detection(wide, 0.2, (0.5, 0.25, 0.5, 0.25)) is None


@pytest.mark.parametrize(
    ("device", "here", "first"),
    [
        ("cuda:2", ["CUDAExecutionProvider"], ("CUDAExecutionProvider", {"device_id": 2})),
        ("cuda", ["CUDAExecutionProvider"], ("CUDAExecutionProvider", {"device_id": 0})),
        ("cuda", ["CPUExecutionProvider"], "CPUExecutionProvider"),
        ("cpu", ["CUDAExecutionProvider"], "CPUExecutionProvider"),
    ],
)
def test_a_graph_runs_on_the_device_that_was_asked_for(
    device: str, here: list[str], first: object
) -> None:
    found = vision._providers(torch.device(device), here)
    assert (found[0], found[-1]) == (first, "CPUExecutionProvider")


@pytest.mark.parametrize("name", ["rmbg", "birefnet"])
def test_the_foreground_of_a_bright_thing_is_the_thing(name: str, folders: Folders) -> None:
    seen = Foreground(32, (0.45, 0.45, 0.45), (0.2, 0.2, 0.2), logits=name == "birefnet")
    stage = OnnxForeground.load(folders[name] / "onnx" / "model.onnx", HOST, seen)
    whole, part = stage([Segment(spot()), Segment(spot(), (0, 0, 16, 32))])
    np.testing.assert_array_equal(whole, hole())
    np.testing.assert_array_equal(part, hole() & (np.arange(SIDE) < 16))


def test_a_whole_run_on_models_makes_samples_that_resume(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The published sizes and steps would take minutes on a CPU, even of tiny models.
    small = lambda steps, guidance, size: Sampling(2, guidance, 64)  # noqa: E731
    monkeypatch.setattr(models, "Sampling", small)
    given = {"text2image": "turbo", "segment": "rmbg", "inpaint": "inpaint"}
    chosen = ",".join(f"{stage}={folders[name]}" for stage, name in given.items())
    arguments = [f"--output_dir={tmp_path / 'a'}", f"--models={chosen}", "--device=cpu"]
    assert cli.main(["generate", "scenes", "--count=2", "--batch_size=2", *arguments]) == 0
    lines = list(read_manifest(tmp_path / "a"))
    assert len(lines) == 2
    for line in lines:
        assert (tmp_path / "a" / f"{line['name']}_inpainted.npy").is_file()
        assert set(line["seconds"]) == {"text2image", "segment", "inpaint"}
    assert cli.main(["generate", "inspect", str(tmp_path / "a")]) == 0
    stage = TextToImage.load(folders["turbo"], HOST, Sampling(2, 0.0, 64))
    (picture,) = stage([Text2Image(lines[0]["prompt"], lines[0]["seed"])])
    assert len(encode("a.jpg", picture.image)) > 100


def test_a_damaged_model_is_named(folders: Folders, tmp_path: Path) -> None:
    broken = tmp_path / "turbo"
    shutil.copytree(folders["turbo"], broken)
    weights = broken / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="turbo is damaged or cut short"):
        TextToImage.load(broken, HOST, FEW)
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(WeightsError, match=r"model.onnx is damaged"):
        OnnxForeground.load(graph, HOST, Foreground())


def test_a_place_that_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no folder ./absent"):
        rows.model_folder("./absent", ("config.json",))


@pytest.mark.parametrize("asked", [False, True])
def test_code_of_a_repository_runs_only_where_it_was_asked_for(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    row = rows.RMBG_BY_ITS_OWN_CODE
    monkeypatch.setattr(rows, "fetch", lambda *_: pytest.fail("nothing is to be downloaded"))
    monkeypatch.setattr(
        presets, "RMBG_BY_ITS_OWN_CODE", rows.ModelRow(row.place, lambda *_: ran.append(1) or len)
    )
    stages = load_preset(ScenesConfig(trust_remote_code=asked)).stages
    if asked:
        stages.loaders["segment"]()
    else:
        with pytest.raises(BaseException, match="nothing is to be downloaded"):
            stages.loaders["segment"]()
    assert bool(ran) == asked


def test_without_a_hub_people_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(place: str) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "dataset_info", unreachable)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("tried it"))
    arguments = ["--count=1", "--preset=faithful", f"--output_dir={tmp_path / 'a'}"]
    assert cli.main(["generate", "clothes", *arguments]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "no hub is reachable; give a folder of pictures and masks" in last


def test_people_come_from_a_folder_of_pictures_and_labels(tmp_path: Path) -> None:
    labels = np.zeros((40, 30), np.uint8)
    labels[5:35, 5:25] = 4
    for i in range(2):
        Image.new("RGB", (30, 40), (200, 10, 10 * i)).save(tmp_path / f"p{i}.png")
        Image.fromarray(labels).save(tmp_path / f"p{i}_mask.png")
    people = rows.FAITHFUL["people"].load(str(tmp_path), "cpu")
    assert people([LoadPerson(1, 0)])[0].labels.max() == 4
    with pytest.raises(DataError, match="has 2 people"):
        people([LoadPerson(2, 0)])
    out = tmp_path / "out"
    arguments = ["--count=2", f"--models=people={tmp_path}", f"--output_dir={out}"]
    assert cli.main(["generate", "clothes", *arguments]) == 0
    cut = sorted((out / "garments" / "upper-clothes").glob("*.png"))
    assert len(cut) == 2
    with Image.open(cut[0]) as garment:
        assert garment.size == (20, 30)
    with Image.open(next(out.glob("person_0_*.jpg"))) as person:
        assert person.size == (40, 40)  # padded to a square


def test_the_benchmark_runs_tiny_models_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models=tiny", "--kinds=unions", "--count=2", "--size=32", "--repeats=1"]
    assert datagen.main([*arguments, "--threads=1", "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["same_files"] == 1.0 and values["throughput_ratio_unions"] > 0
