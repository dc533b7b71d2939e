"""Caches of embeddings: what they give, how they are made, and when they are refused."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.cli.main import main
from pops.data.cache.build import embed_dataset, make_index
from pops.data.cache.fingerprints import operator_traits
from pops.data.cache.format import (
    CacheIndex,
    DatasetTraits,
    read_index,
    read_shard,
    write_index,
)
from pops.data.cache.read import CachedSource
from pops.data.dataset import ExampleDataset
from pops.data.reader import RecipeSettings
from pops.data.recipes import find_recipe
from pops.data.sources.online import OnlineSource
from pops.data.sources.open import open_source
from pops.errors import DataError
from pops.io.formats.shards import shard_file
from pops.operators import TEXTURING
from pops.stacks.stack import Stack, open_stack
from tests.data.tiny_data import (
    TOLD,
    WORDS,
    WRITERS,
    assert_same,
    dataset,
    disc,
    only,
    picture,
    write_pictures,
    write_scenes,
    write_texturing,
    write_unions,
)


@pytest.fixture(scope="module")
def stack() -> Stack:
    return open_stack("pocket", device="cpu")


def cache(data: ExampleDataset, stack: Stack, folder: Path, variants: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    index = make_index(data, stack, variants, shard_records=2)
    write_index(folder, index)
    embed_dataset(folder, index, data, stack)
    return folder


def cached(folder: Path, data: ExampleDataset, stack: Stack, **more: int) -> CachedSource:
    return CachedSource([folder], stack.clip_stats, data.operator, **more)


# --- caches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", WRITERS)
def test_a_cache_gives_what_its_frozen_choices_give_online(mode: str, tmp_path: Path, stack: Stack):
    data = dataset(mode, WRITERS[mode](tmp_path / mode, 3))
    folder = cache(data, stack, tmp_path / "cache")
    source = cached(folder, data, stack)
    assert len(source) == len(data) == 3
    keys = [(epoch, index) for epoch in range(3) for index in range(3)]
    # Every record starts at a variant of its own: those of the first record, in the second.
    frozen = [((epoch + int(source._starts[index])) % 3, index) for epoch, index in keys]
    online = only(OnlineSource(data, stack), [frozen])
    assert_same(only(source, [keys]), online, tolerance=4e-3)


def test_every_variant_is_used_once_before_any_is_used_again(tmp_path: Path, stack: Stack):
    data = dataset("texturing", write_texturing(tmp_path / "t", 3))
    source = cached(cache(data, stack, tmp_path / "cache"), data, stack)
    for start in (0, 5):
        shown = only(source, [[(start + epoch, 1) for epoch in range(6)]])
        seen = [tuple(tokens.flatten().tolist()) for tokens in shown.conditions.tokens]
        assert len({*seen[:3]}) == 3 and seen[:3] == seen[3:]


def test_mapped_files_give_what_memory_gives(tmp_path: Path, stack: Stack):
    data = dataset("clothes", WRITERS["clothes"](tmp_path / "c", 5))
    folder = cache(data, stack, tmp_path / "cache")
    plan = [[(epoch, index) for epoch in range(3) for index in range(5)]]
    in_memory = only(cached(folder, data, stack), plan)
    assert_same(in_memory, only(cached(folder, data, stack, in_memory=0), plan), 0.0)


def test_dropped_inputs_and_texts_are_zero_tokens_that_are_seen(tmp_path: Path, stack: Stack):
    data = dataset("instruct", write_pictures(tmp_path / "i", 4))
    source = cached(cache(data, stack, tmp_path / "cache", variants=12), data, stack)
    made = only(source, [[(epoch, index) for epoch in range(12) for index in range(4)]])
    dropped = ~made.conditions.tokens.any(-1).any(-1)
    assert 2 <= dropped.sum() <= 20  # 48 rows, a fifth of them
    assert (made.conditions.mask.sum(1) >= 4).all()  # picture, start, word, end


def test_several_caches_weigh_equally_and_texts_are_shared(tmp_path: Path, stack: Stack):
    few = dataset("instruct", write_pictures(tmp_path / "few", 1))
    picture(disc(), (0, 0, 0), 9).save(tmp_path / "few" / "mug_on-the-beach_0.png")
    many = dataset("instruct", write_pictures(tmp_path / "many", 4))
    folders = [
        cache(few, stack, tmp_path / "a", variants=2),
        cache(many, stack, tmp_path / "b", variants=3),
    ]
    source = CachedSource(folders, stack.clip_stats, few.operator)
    both = dataset("instruct", tmp_path / "few", tmp_path / "many")
    assert len(source) == len(both) == 8
    made = only(source, [[(0, index) for index in range(8)]])
    mine = only(cached(folders[0], few, stack), [[(0, 0)]]).target[0]
    assert [torch.equal(target, mine) for target in made.target] == [True, False] * 4


def test_one_cache_of_several_datasets_weighs_them_equally(tmp_path: Path, stack: Stack):
    places = write_unions(tmp_path / "one", 1), write_unions(tmp_path / "three", 3)
    data = dataset("union", *places)
    source = cached(cache(data, stack, tmp_path / "cache"), data, stack)
    keys = [(epoch, index) for epoch in range(2) for index in range(6)]
    made, online = only(source, [keys]), only(OnlineSource(data, stack), [keys])
    torch.testing.assert_close(made.target, online.target, atol=4e-3, rtol=4e-3)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")
    }


def test_machines_that_share_the_work_make_the_cache_of_one(tmp_path: Path, stack: Stack):
    data = dataset("scene", write_scenes(tmp_path / "s", 7))
    whole = cache(data, stack, tmp_path / "whole")
    shared = tmp_path / "shared"
    shared.mkdir()
    index = make_index(data, stack, 3, 2)
    for which in (2, 0, 1):
        write_index(shared, index)
        embed_dataset(shared, index, data, stack, part=(which, 3), workers=which % 2)
    assert files(shared) == files(whole)


def test_a_run_that_was_stopped_goes_on_to_the_same_cache(tmp_path: Path, stack: Stack):
    data = dataset("scene", write_scenes(tmp_path / "s", 6))
    whole = cache(data, stack, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    index = make_index(data, stack, 3, 2)
    write_index(stopped, index)

    def stop(_: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_dataset(stopped, index, data, stack, progress=stop)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 of 3 shards are missing"):
        cached(stopped, data, stack)
    cache(data, stack, stopped)
    assert files(stopped) == files(whole)


def test_broken_records_are_left_out_of_a_cache_and_counted_over_all_runs(
    tmp_path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
):
    place = write_scenes(tmp_path / "s", 4)
    (place / "mug_2.png").write_text("no picture")
    data = dataset("scene", place, share=0.3)
    source = cached(cache(data, stack, tmp_path / "cache"), data, stack)
    assert len(source) == 3
    assert "skipped" in caplog.text
    online = OnlineSource(data, stack)
    targets = only(source, [[(0, index) for index in range(3)]]).target
    expected = only(online, [[(0, 0), (0, 1), (0, 3)]]).target
    torch.testing.assert_close(targets, expected, atol=4e-3, rtol=4e-3)
    (place / "mug_0.png").write_text("no picture")
    shard_file(tmp_path / "cache", "shard", 0).unlink()
    with pytest.raises(DataError, match="2 of 4 records are broken"):
        index = make_index(data, stack, 3, 2)
        embed_dataset(tmp_path / "cache", index, data, stack)


def test_a_dataset_without_a_whole_record_makes_no_source(tmp_path: Path, stack: Stack):
    place = write_scenes(tmp_path / "s", 2)
    for path in place.glob("*.npy"):
        path.unlink()
    data = dataset("scene", place, share=1.0)
    with pytest.raises(DataError, match="all records of .* are broken"):
        cached(cache(data, stack, tmp_path / "cache"), data, stack)


# --- stale and foreign caches ----------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> tuple[ExampleDataset, Path]:
    root = tmp_path_factory.mktemp("made")
    data = dataset("scene", write_scenes(root / "data", 3))
    return data, cache(data, stack, root / "cache")


def reopened(data: ExampleDataset, folder: Path, stack: Stack, told: RecipeSettings = TOLD) -> None:
    open_source(data.operator, data.recipe, stack, caches=[folder], settings=told)


def test_a_cache_that_fits_is_opened_with_its_data_or_without(
    made: tuple[ExampleDataset, Path], stack: Stack
):
    data, folder = made
    reopened(data, folder, stack)
    place = Path(data.listed[0].place)
    place.rename(place.with_name("elsewhere"))
    reopened(data, folder, stack)
    place.with_name("elsewhere").rename(place)


def test_a_cache_of_another_recipe_operator_or_setting_is_refused(
    made: tuple[ExampleDataset, Path], stack: Stack
):
    data, folder = made
    with pytest.raises(DataError, match="recipe version 1, not 2"):
        open_source(data.operator, replace(data.recipe, version=2), stack, caches=[folder])
    with pytest.raises(DataError, match=r"drop all 0\.1, not 0\.3"):
        open_source(replace(data.operator, drop_all=0.3), data.recipe, stack, caches=[folder])
    with pytest.raises(DataError, match="name scene, not union"):
        open_source(*find_recipe("union"), stack, caches=[folder])
    with pytest.raises(DataError, match="settings: garment side 6, not 7"):
        reopened(data, folder, stack, replace(TOLD, garment_side=7))
    with pytest.raises(DataError, match="name scene of the operator, not union"):
        CachedSource([folder], stack.clip_stats, find_recipe("union")[0])
    with pytest.raises(DataError, match="another base prior"):
        CachedSource([folder], {k: v + 1 for k, v in stack.clip_stats.items()}, data.operator)


def test_a_cache_of_another_encoder_is_refused(
    made: tuple[ExampleDataset, Path], stack: Stack, tmp_path: Path
):
    data, folder = made
    part = tmp_path / "prior"
    part.mkdir()
    for child in stack.prior_folder.iterdir():
        if child.name != "image_encoder":
            (part / child.name).symlink_to(child)
    (part / "image_encoder").mkdir()
    for child in (stack.prior_folder / "image_encoder").iterdir():
        content = bytearray(child.read_bytes())
        if child.suffix == ".safetensors":
            content[-1] ^= 1  # one bit of one weight
        (part / "image_encoder" / child.name).write_bytes(content)
    other = open_stack("pocket", device="cpu", prior=part)
    with pytest.raises(DataError, match="stale, since it was made with encoders: image encoder"):
        reopened(data, folder, other)


def test_a_cache_of_a_dataset_that_has_changed_is_refused(tmp_path: Path, stack: Stack):
    place = write_scenes(tmp_path / "s", 2)
    data = dataset("scene", place)
    folder = cache(data, stack, tmp_path / "cache", variants=1)
    Image.new("RGB", (9, 9)).save(place / "mug_1.png")
    with pytest.raises(DataError, match=r"stale.*2 records.*not 2 records"):
        reopened(data, folder, stack)


def test_a_folder_is_not_filled_with_another_cache(made: tuple[ExampleDataset, Path], stack: Stack):
    data, folder = made
    with pytest.raises(DataError, match="cache made with variants 3, not 4: name another folder"):
        write_index(folder, make_index(data, stack, 4, 2))


def test_what_is_no_cache_or_damaged_is_named(
    made: tuple[ExampleDataset, Path], stack: Stack, tmp_path: Path
):
    data, folder = made
    with pytest.raises(DataError, match="holds no cache"):
        cached(tmp_path, data, stack)
    for name, content in files(folder).items():
        (tmp_path / name).write_bytes(content)
    shard_file(tmp_path, "embeds", 0).write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"embeds-00000\.npy: cannot be read as an array"):
        cached(tmp_path, data, stack)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"format": 0}))
    with pytest.raises(DataError, match="format: Invalid enum value 0"):
        cached(tmp_path, data, stack)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(DataError, match=r"index\.json: is damaged or is not JSON"):
        cached(tmp_path, data, stack)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 5))
def test_shards_split_the_records_of_all_datasets(lengths: list[int], each: int):
    listed = [DatasetTraits(place="", records=n, listing="") for n in lengths]
    index = CacheIndex(
        stack="",
        encoders={},
        clip_stats="",
        dim=1,
        operator=operator_traits(TEXTURING),
        recipe="",
        recipe_version=1,
        settings={},
        datasets=listed,
        variants=1,
        seed=0,
        shard_records=each,
    )
    ordinals = [o for shard in range(index.shards) for o in index.ordinals(shard)]
    assert [index.part_of(o) for o in ordinals] == [
        (part, record) for part, n in enumerate(lengths) for record in range(n)
    ]


# --- the command -----------------------------------------------------------------------------


def arguments(place: Path, out: Path) -> list[str]:
    return [
        "embed",
        "--mode=instruct",
        f"--dataset_path={place}",
        f"--out={out}",
        "--variants=2",
        "--shard_records=2",
        "--num_workers=0",
        "--device=cpu",
        f"--adjectives={WORDS}",
    ]


def test_embed_makes_a_cache_shares_the_work_and_says_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place, out = write_pictures(tmp_path / "i", 5), tmp_path / "cache"
    assert main([*arguments(place, out), "--shard=1/2"]) == 0
    assert "5 records, 2 variants each, 2 of 3 shards still to be made" in capsys.readouterr().out
    assert main([*arguments(place, out), "--shard=0/2"]) == 0
    assert capsys.readouterr().out == f"{out}  (5 records, 2 variants each)\n"
    before = files(out)
    assert main(arguments(place, out)) == 0
    assert files(out) == before
    assert read_shard(out, 0, read_index(out)).embeds.dtype == np.float16


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--shard=2/2", "--shard takes i/n"),
        ("--mode=textures", "did you mean texturing"),
        ("--dataset_path=absent", "no such folder: absent"),
        ("--randoms_dir=absent", "cannot read absent"),
        (
            "--adjectives=absent",
            "absent is missing; the word lists of pops are",
        ),
        ("--max_broken_share=2", "--max_broken_share must be from 0 to 1"),
        ("--variants=0", "--variants must be from 1"),
    ],
)
def test_a_wrong_flag_is_one_line(
    flag: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = write_pictures(tmp_path / "i", 1)
    assert main([*arguments(place, tmp_path / "cache"), flag]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_cache(tmp_path: Path):
    place = write_pictures(tmp_path / "i", 40)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(arguments(place, whole)) == 0
    command = [sys.executable, "-m", "pops", *arguments(place, killed)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while not shard_file(killed, "shard", 3).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not shard_file(killed, "shard", 19).exists()
    (killed / ".pops-half").mkdir()
    assert main(arguments(place, killed)) == 0
    assert files(killed) == files(whole)
    assert {path.name for path in killed.glob(".*")} <= {".lock-0-of-1"}
