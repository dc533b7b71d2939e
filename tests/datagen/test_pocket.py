"""Data made in the pocket world: layouts, exactness, and what a sample depends on."""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import datagen
from pops.cli import main as cli
from pops.compat import generation as published
from pops.data.records.layouts import read_pictures, read_scenes, read_texturing, read_unions
from pops.data.records.persons import read_persons
from pops.datagen.config import TexturesConfig
from pops.datagen.engines.local import Finished, Local, schedule
from pops.datagen.folder.export import member_name
from pops.datagen.folder.inspect import inspect_folder
from pops.datagen.folder.manifest import read_manifest
from pops.datagen.folder.sheet import contact_sheet
from pops.datagen.generators import GENERATORS
from pops.datagen.pocket.prompts import POCKET_WORDS
from pops.datagen.pocket.stages import pocket_stages
from pops.datagen.presets import load_preset
from pops.datagen.run import Generation
from pops.datagen.sample import encode
from pops.datagen.stages import Detect, Detection, LoadPerson, StageRequest, Stages, Text2Image
from pops.errors import PopsError, UsageError
from pops.pocket.world.split import (
    held_out_pairs,
    is_held_out,
    is_held_out_outfit,
    is_held_out_pair,
)
from pops.settings.shard import Shard

COUNT, SIZE = 4, 16
KINDS = {
    "textures": ("textures",),
    "scenes": ("scenes",),
    "unions": ("unions",),
    "objects": ("random", "--type=objects"),
    "places": ("random", "--type=scenes"),
    "clothes": ("clothes",),
}


def generate(folder: Path, *command: str, count: int = COUNT, seed: int = 3) -> int:
    arguments = ("--preset=pocket", f"--count={count}", f"--seed={seed}", f"--size={SIZE}")
    return cli.main(["generate", *command, *arguments, f"--output_dir={folder}"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    for name, command in KINDS.items():
        assert generate(root / name, *command) == 0
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the samples, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl" and not path.name.startswith(".")
    }


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def finished(
    kind: str, indices: Sequence[int], batch_size: int, **options: Any
) -> Iterator[Finished]:
    plan = Generation(kind, POCKET_WORDS, 3, COUNT)
    return schedule(indices, plan.script, Local(pocket_stages(SIZE, **options)), batch_size)


# --- layouts --------------------------------------------------------------------------------


def test_the_count_asked_for_is_delivered_in_the_layouts_that_training_reads(made: Path) -> None:
    read = {
        "textures": read_texturing,
        "scenes": read_scenes,
        "unions": read_unions,
        "objects": read_pictures,
        "places": read_pictures,
    }
    for name, reader in read.items():
        records = reader(str(made / name))
        assert len(records) == COUNT, name
        assert all(file.is_file() for record in records for file in record.files), name
    persons = read_persons(str(made / "clothes"))
    assert len(persons) == COUNT
    picture, labels = persons[0].open()
    assert picture.size == labels.shape == (SIZE, SIZE)


def test_a_texture_sample_has_five_other_materials_a_mask_and_its_box(made: Path) -> None:
    for line in read_manifest(made / "textures"):
        folder = made / "textures" / line["name"]
        assert len(list(folder.glob("*.jpg"))) == 6
        mask = np.asarray(opened(folder / "mask.png")) > 0
        ys, xs = np.nonzero(mask)
        x1, y1, x2, y2 = json.loads((folder / "box.json").read_text())
        assert (x1, y1, x2, y2) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        base = line["world"]["items"][0]
        assert base["material"] not in {variant["look"][0] for variant in line["variants"]}
        for variant in line["variants"]:
            item = variant["world"]["items"][0]
            assert {**item, "material": "", "phase": 0} == {**base, "material": "", "phase": 0}
            assert item["material"] == variant["look"][0]
            assert (folder / variant["file"]).is_file()


def test_a_scene_differs_from_its_background_where_the_thing_is(made: Path) -> None:
    inside, outside = [], []
    for record in read_scenes(str(made / "scenes")):
        mask = np.load(record.mask) > 0
        picture, background = (np.asarray(opened(path)).astype(int) for path in record.files[:2])
        difference = np.abs(picture - background).mean(2)
        inside.append(difference[mask].mean())
        outside.append(difference[~mask].mean())
    assert np.mean(inside) > 4 * np.mean(outside)


def test_a_union_has_its_two_objects_on_white(made: Path) -> None:
    for line in read_manifest(made / "unions"):
        first, second = line["objects"]
        assert line["prompt"].startswith(f"A photo of a {first} and a {second} ")
        for i, (x1, y1, x2, y2) in enumerate(line["boxes"]):
            cut = opened(made / "unions" / f"{line['name']}_OBJ_{i}.png")
            assert cut.size == (x2 - x1, y2 - y1)
            assert (np.asarray(cut) == 255).all(2).any()


def test_garments_are_cut_out_under_their_names(made: Path) -> None:
    for line in read_manifest(made / "clothes"):
        for garment in line["garments"]:
            assert (made / "clothes" / "garments" / garment / f"{line['name']}.png").is_file()
        worn = {item["shape"] for item in line["world"]["items"]}
        assert ("upper-clothes" in line["garments"]) <= ("worn top" in worn)


def test_no_held_out_combination_is_drawn(made: Path) -> None:
    for name in KINDS:
        for line in read_manifest(made / name):
            for about in (line, *line.get("variants", ())):
                world = about["world"]
                for item in world["items"]:
                    combination = item["shape"], item["material"], world["background"]
                    assert not is_held_out(*combination)


def test_no_held_out_pair_is_drawn_though_words_would_say_some() -> None:
    (first, in_first), (second, in_second) = held_out_pairs()[0]
    stage = pocket_stages(SIZE).loaders["text2image"]()
    place = POCKET_WORDS.placements[0]
    for shapes in ((first, second), (second, first)):
        asked = [
            Text2Image(f"A photo of a {shapes[0]} and a {shapes[1]} {place}", seed)
            for seed in range(999)
        ]
        for picture in stage(asked):
            a, b = ((item.shape, item.material) for item in picture.scene.items)
            assert not is_held_out_pair(a, b)
    with pytest.raises(UsageError, match="held out of all training, for evaluation alone"):
        stage([Text2Image(f"A {in_first} {first} and a {in_second} {second} {place}", 0)])


def test_no_held_out_outfit_is_drawn() -> None:
    stage = pocket_stages(SIZE).loaders["people"]()
    for person in stage([LoadPerson(0, seed) for seed in range(24)]):
        worn = [(i.shape, i.material) for i in person.picture.scene.items if i.shape != "mannequin"]
        assert not is_held_out_outfit(worn)


def test_the_seed_in_a_name_is_the_seed_it_was_made_with(made: Path) -> None:
    for line in read_manifest(made / "objects"):
        assert line["name"].endswith(f"_{line['seed']}")
        stage = pocket_stages(SIZE).loaders["text2image"]()
        (picture,) = stage([Text2Image(line["prompt"], line["seed"])])
        path = made / "objects" / f"{line['name']}.jpg"
        assert encode("a.jpg", picture.image) == path.read_bytes()


def test_inspect_finds_nothing_wrong_and_draws_a_sheet(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in KINDS:
        sheet = tmp_path / f"{name}.jpg"
        arguments = ["generate", "inspect", str(made / name), f"--out={sheet}"]
        assert cli.main(arguments) == 0, name
        assert opened(sheet).width > 100
    said = capsys.readouterr().out
    assert f"{COUNT} samples of textures, preset pocket, seed 3" in said
    assert "text2image: pocket world@" in said and "broken: 0" in said


def test_a_sheet_of_single_pictures_has_them_side_by_side(made: Path) -> None:
    lines = list(read_manifest(made / "objects"))
    assert all(len(line["files"]) == 1 for line in lines)
    one, several, many = (contact_sheet(made / "objects", lines[:1] * n) for n in (1, 4, 9))
    assert several.height == one.height and several.width > 3 * one.width / 2
    assert many.height > 1.5 * one.height


def test_inspect_lists_what_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "objects"
    assert generate(folder, "random", count=3) == 0
    first, second = sorted(folder.glob("*.jpg"))[:2]
    first.write_bytes(first.read_bytes()[:100])
    second.rename(folder / "stray.jpg")
    assert cli.main(["generate", "inspect", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "broken: 3" in said and "stray.jpg: of no sample" in said and first.name in said


# --- what a sample depends on ---------------------------------------------------------------


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    made: Path, tmp_path: Path
) -> None:
    assert generate(tmp_path / "again", "textures") == 0
    assert contents(tmp_path / "again") == contents(made / "textures")
    assert generate(tmp_path / "other", "textures", seed=4, count=1) == 0
    assert not contents(tmp_path / "other").keys() & contents(made / "textures").keys()


def test_shards_make_together_what_one_run_makes(made: Path, tmp_path: Path) -> None:
    for shard in range(3):  # into one folder, as machines with a common disk would
        assert generate(tmp_path / "all", "scenes", f"--shard={shard}/3") == 0
    assert contents(tmp_path / "all") == contents(made / "scenes")
    assert sorted(line["index"] for line in read_manifest(tmp_path / "all")) == list(range(COUNT))


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_batch_makes_what_its_members_make_alone(kind: str) -> None:
    def files(batch_size: int, **options: Any) -> dict[int, dict[str, bytes]]:
        return {
            one.index: {path: encode(path, content) for path, content in one.sample.files.items()}
            for one in finished(kind, range(2), batch_size, **options)
        }

    assert files(16) == files(1, share=False)


def test_more_samples_begin_with_the_same_ones(made: Path, tmp_path: Path) -> None:
    assert generate(tmp_path / "fewer", "random", count=2) == 0
    assert contents(tmp_path / "fewer").items() <= contents(made / "objects").items()


# --- rejections and failures ----------------------------------------------------------------


def _with(stages: Stages, stage: str, answer: Any) -> Stages:
    return replace(stages, loaders={**stages.loaders, stage: lambda: answer})


def _textures(stages: Stages, rejected: Any = lambda reason: None) -> list[Finished]:
    plan = Generation("textures", POCKET_WORDS, 3, COUNT)
    return list(schedule(range(3), plan.script, Local(stages), 4, rejected))


def test_what_is_rejected_is_made_anew_until_the_count_is_there() -> None:
    stages = pocket_stages(SIZE)
    detect = stages.loaders["detect"]()
    rng = Random(0)

    def near_blind(asked: Sequence[Detect]) -> list[Any]:
        return [found if rng.random() < 0.5 else None for found in detect(asked)]

    reasons: list[str] = []
    made = _textures(_with(stages, "detect", near_blind), reasons.append)
    assert sorted(one.index for one in made) == [0, 1, 2]
    assert reasons and set(reasons) == {"no detection"}
    assert sum(one.attempt for one in made) == len(reasons)
    assert all(len(one.rejections) == one.attempt for one in made)


def test_a_sample_that_is_always_rejected_stops_the_run_with_the_reasons() -> None:
    stages = _with(pocket_stages(SIZE), "detect", lambda asked: [None] * len(asked))
    with pytest.raises(PopsError, match=r"rejected 50 times \(no detection 50\)"):
        _textures(stages)


def test_a_stage_that_fails_on_batches_alone_changes_nothing() -> None:
    stages = pocket_stages(SIZE)
    answer = stages.loaders["text2image"]()

    def small_memory(asked: Sequence[StageRequest]) -> Any:
        if len(asked) > 1:
            raise MemoryError("too many at once")
        return answer(asked)

    made = {
        one.index: one.sample.name for one in _textures(_with(stages, "text2image", small_memory))
    }
    assert made == {one.index: one.sample.name for one in _textures(pocket_stages(SIZE))}


def test_a_stage_that_fails_again_and_again_stops_the_run_with_its_error() -> None:
    def broken(asked: Sequence[StageRequest]) -> Any:
        raise RuntimeError("CUDA error: device-side assert")

    with pytest.raises(PopsError, match="stage segment failed 3 times .*device-side assert"):
        _textures(_with(pocket_stages(SIZE), "segment", broken))


def test_each_stage_is_loaded_once_and_only_where_it_is_asked() -> None:
    stages = pocket_stages(SIZE)
    loaded: list[str] = []

    def counted(name: str) -> Any:
        def load() -> Any:
            loaded.append(name)
            return stages.loaders[name]()

        return load

    _textures(replace(stages, loaders={name: counted(name) for name in stages.loaders}))
    assert sorted(loaded) == sorted(GENERATORS["textures"].stages)


def test_a_mask_that_hardly_covers_its_box_is_rejected() -> None:
    stages = _with(
        pocket_stages(SIZE), "detect", lambda asked: [Detection((0, 0, 9, 9), 1.0)] * len(asked)
    )
    for mask, reason in (
        (np.zeros((SIZE, SIZE), bool), "mask too small"),
        (np.ones((SIZE, SIZE), bool), "mask too large"),
        (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) > 200, "little foreground in the box"),
    ):
        stages = _with(stages, "segment", lambda asked, mask=mask: [mask] * len(asked))
        with pytest.raises(PopsError, match=f"{reason} 50"):
            _textures(stages)


# --- settings -------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "not there"
    for preset in ("faithful", "permissive", "pocket"):
        arguments = [f"--output_dir={folder}", f"--preset={preset}", "--count=9", "--dry-run"]
        assert cli.main(["generate", "textures", *arguments, "--shard=1/3"]) == 0
    said = capsys.readouterr().out
    assert "3 of 9 textures" in said and "Text2Image(prompt='A " in said
    assert "stabilityai/sdxl-turbo@7115" in said and "Non-Commercial" in said
    assert not folder.exists()


def test_the_permissive_preset_names_no_model_barred_from_commercial_use() -> None:
    preset = load_preset(TexturesConfig(preset="permissive"))
    for model in preset.stages.models.values():
        assert not re.search("non-commercial", model.licence, re.IGNORECASE), model


@pytest.mark.parametrize("shard", ["1", "2/2", "-1/2", "a/b", "1/0", "0/2/3"])
def test_a_shard_that_cannot_be_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="--shard takes i/n"):
        Shard.parse(shard)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset=pocket", "--size=18"], "multiple of 4"),
        (["--preset=pocket", "--objects_path=words.txt"], "words of its own"),
        (["--preset=faithful", "--size=64"], "--size works with the pocket preset only"),
        (["--models=paint=a/b"], "STAGE=REPOSITORY"),
        (["--count=0"], "--count must be from 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"--output_dir={tmp_path / 'new'}"
    assert cli.main(["generate", "textures", folder, *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_inspecting_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PopsError, match="not a folder of `pops generate`"):
        inspect_folder(tmp_path)


# --- what is made of the data ---------------------------------------------------------------


def test_tar_shards_hold_every_file_of_every_sample_once(made: Path, tmp_path: Path) -> None:
    for name in KINDS:
        out = tmp_path / name
        arguments = ["generate", "export", str(made / name), f"--out={out}"]
        assert cli.main([*arguments, "--samples_per_shard=3"]) == 0
        tars = sorted(out.glob("*.tar"))
        assert [tar.name for tar in tars] == ["samples-000000.tar", "samples-000001.tar"]
        members = []
        for tar in tars:
            with tarfile.open(tar) as opened_tar:
                members += opened_tar.getnames()
        assert len(members) == len(set(members)) == COUNT + len(contents(made / name))
        keys = [member.split(".")[0] for member in members]
        assert sorted(keys) == keys and len(set(keys)) == COUNT  # a sample's files lie together


@pytest.mark.parametrize(
    ("file", "member"),
    [
        ("mug_1.jpg", "jpg"),
        ("mug_1_inpainted.npy", "inpainted.npy"),
        ("mug_1_OBJ_0.png", "obj_0.png"),
        ("mug_1/base.jpg", "base.jpg"),
        ("garments/hat/mug_1.png", "garments-hat.png"),
    ],
)
def test_a_member_of_a_tar_says_what_it_is_of_its_sample(file: str, member: str) -> None:
    assert member_name("mug_1", file) == member


def test_cutouts_keep_the_thing_and_lose_its_place(made: Path, tmp_path: Path) -> None:
    arguments = [f"--input_dir={made / 'objects'}", f"--output_dir={tmp_path / 'cut'}"]
    assert published.remove_backgrounds([*arguments, "--preset=pocket"]) == 0
    for picture in (made / "objects").glob("*.jpg"):
        cut = np.asarray(opened(tmp_path / "cut" / f"{picture.stem}.png")).astype(int)
        whole = np.asarray(opened(picture)).astype(int)
        kept = (cut != 255).any(2)
        assert 0.05 < kept.mean() < 0.8
        assert np.abs(cut - whole)[kept].mean() < 12  # JPEG


def test_cutting_out_a_strange_picture_in_the_pocket_world_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "mine.png")
    arguments = [f"--input_dir={tmp_path}", f"--output_dir={tmp_path / 'cut'}"]
    assert published.remove_backgrounds([*arguments, "--preset=pocket"]) == 1
    assert "knows only pictures that it has made" in capsys.readouterr().err


def test_the_published_commands_make_what_pops_generate_makes(made: Path, tmp_path: Path) -> None:
    arguments = ["--preset=pocket", "--count=2", "--seed=3", f"--size={SIZE}"]
    out = f"--output_dir={tmp_path / 'a'}"
    assert published.generate_random_images([*arguments, out, "--type=scenes"]) == 0
    assert contents(tmp_path / "a").items() <= contents(made / "places").items()
    out = f"--output_dir={tmp_path / 'b'}"
    assert published.generate_textures([*arguments, out]) == 0
    assert contents(tmp_path / "b").items() <= contents(made / "textures").items()


def test_the_benchmark_makes_the_same_files_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--kinds=random objects,clothes", "--count=2", f"--size={SIZE}", "--repeats=1"]
    assert datagen.main([*arguments, "--threads=1", "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["same_files"] == 1.0
    assert values["throughput_ratio_random_objects"] > 0
