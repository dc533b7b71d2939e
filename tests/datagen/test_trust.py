"""Runs that are killed, run out of room, or meet each other; and names made of any words."""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pops.cli import main as cli
from pops.datagen.cutouts import name_cutouts
from pops.datagen.folder.inspect import inspect_folder
from pops.datagen.folder.manifest import read_manifest
from pops.datagen.folder.store import SampleStore
from pops.datagen.sample import Sample
from pops.datagen.words import (
    LONGEST_WORD,
    PromptWords,
    file_word,
    read_prompt_words,
    shipped_words,
)
from pops.errors import InputError, OutputError, UsageError
from pops.settings.shard import Shard

COUNT = 40
COMMAND = ("generate", "random", "--preset=pocket", "--size=16", "--batch_size=2", "--seed=5")
SETTINGS = {"kind": "textures", "preset": "pocket", "seed": 0, "models": {}}


def run(folder: Path, *more: str) -> int:
    return cli.main([*COMMAND, f"--count={COUNT}", f"--output_dir={folder}", *more])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jpg")}


def picture(value: int = 0) -> Image.Image:
    return Image.fromarray(np.full((16, 16, 3), value, np.uint8))


def sample(name: str = "mug_at-night_1") -> Sample:
    return Sample(name, {f"{name}_mask.png": picture(1), f"{name}.jpg": picture(2)})


# --- killed and resumed ---------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="starts processes as POSIX systems do")
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    assert run(tmp_path / "whole") == 0
    killed = tmp_path / "killed"
    rng = random.Random(0)
    kills = 0
    for _ in range(6):
        # A process of its own that has imported everything already.
        process = get_context("fork").Process(target=run, args=(killed,))
        process.start()
        before = len(files(killed))
        while process.is_alive() and len(files(killed)) <= before + rng.randint(0, 4):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        for line in read_manifest(killed):  # what has a line is whole, at any moment
            for name in line["files"]:
                with Image.open(killed / name) as image:
                    image.load()
    assert kills >= 3
    assert run(killed) == 0
    assert files(killed) == files(tmp_path / "whole")
    assert inspect_folder(killed).broken == []
    assert not list(killed.glob(".staging*"))


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_finished_run_has_nothing_left_to_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "a", "--count=3") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.jpg")}
    assert run(tmp_path / "a", "--count=3") == 0
    assert "0 made in" in capsys.readouterr().out
    assert run(tmp_path / "a", "--count=5") == 0  # more of the same run
    assert len(files(tmp_path / "a")) == 5
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_line_cut_short_is_made_again(tmp_path: Path) -> None:
    assert run(tmp_path, "--count=4") == 0
    whole = files(tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-30])
    assert len(list(read_manifest(tmp_path))) == 3
    assert run(tmp_path, "--count=4") == 0
    assert files(tmp_path) == whole
    assert sorted(line["index"] for line in read_manifest(tmp_path)) == [0, 1, 2, 3]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    line = '{"index": 0, "name": "a", "files": ["a.jpg"]}\n'
    (tmp_path / "manifest.jsonl").write_text(f"{line}nonsense\n{line}")
    with pytest.raises(InputError, match=r"manifest.jsonl, line 2: is damaged or is not JSON"):
        list(read_manifest(tmp_path))


# --- folders that cannot take it ------------------------------------------------------------


def test_other_settings_are_not_mixed_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "a", "--count=1") == 0
    before = files(tmp_path / "a")
    assert run(tmp_path / "a", "--count=1", "--seed=6") == 2
    assert "was made with seed 5, not 6" in capsys.readouterr().err
    assert files(tmp_path / "a") == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    assert run(tmp_path / "b", "--count=1") == 2
    assert "holds other files" in capsys.readouterr().err


def test_a_run_that_made_nothing_leaves_the_folder_free_for_another(tmp_path: Path) -> None:
    with pytest.raises(LookupError), SampleStore(tmp_path / "a" / "b", Shard()).open(SETTINGS):
        raise LookupError
    assert list(tmp_path.iterdir()) == []
    with SampleStore(tmp_path, Shard()).open(SETTINGS):
        pass
    with SampleStore(tmp_path, Shard()).open({**SETTINGS, "seed": 1}) as there:
        assert there == set()


def test_two_runs_do_not_write_the_same_shard(tmp_path: Path) -> None:
    with SampleStore(tmp_path, Shard()).open(SETTINGS):
        other = SampleStore(tmp_path, Shard()).open(SETTINGS)
        with pytest.raises(UsageError, match="another run is at work"), other:
            pass
        with SampleStore(tmp_path, Shard(0, 2)).open(SETTINGS):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="limits files as POSIX systems do")
def test_no_room_is_one_clear_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Files may grow to 2000 bytes: the system refuses more, as a full disk does."""
    program = (
        "import sys\n"
        "from pops.cli.main import main\n"
        "from tests.io.limits import no_larger_than\n"
        "with no_larger_than(1500):\n"
        "    status = main(sys.argv[1:])\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *COMMAND, "--size=64", f"--output_dir={tmp_path / 'a'}"],
        capture_output=True,
        text=True,
        env=one_thread(),
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot write" in last and "file too large; make room" in last
    assert files(tmp_path / "a") == {}
    assert not list((tmp_path / "a").glob(".staging*"))


def test_a_sample_whose_writing_fails_is_not_in_the_manifest(tmp_path: Path) -> None:
    store = SampleStore(tmp_path, Shard())
    with store.open(SETTINGS):
        store.add(sample(), {"index": 0, "name": "a", "files": ["a.jpg"]})
        (tmp_path / "in_the_way.jpg").mkdir()
        with pytest.raises(OutputError, match="cannot write"):
            store.add(sample("in_the_way"), {"index": 1})
    assert [line["index"] for line in read_manifest(tmp_path)] == [0]


def test_no_sample_can_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with SampleStore(folder, Shard()).open(SETTINGS):
        for path in ("../escaped.jpg", "/tmp/escaped.jpg", "a/../../escaped.jpg"):
            with pytest.raises(OutputError, match="would lie outside the output folder"):
                SampleStore(folder, Shard()).add(Sample("a", {path: picture()}), {"index": 0})
    assert not list(tmp_path.glob("*.jpg"))


# --- words ----------------------------------------------------------------------------------


@given(st.text())
def test_any_words_make_a_safe_part_of_a_name(text: str) -> None:
    part = file_word(text)
    assert 1 <= len(part) <= LONGEST_WORD
    assert part == part.strip("-.") and part.isascii() and part == part.lower()
    assert not set(part) & set('/\\._ \0:*?"<>|')


def test_words_of_names_can_be_read_back() -> None:
    assert file_word("hot air balloon") == "hot-air-balloon"
    assert file_word("Café / ../crème") == "cafe-creme"
    assert file_word("日本") == "x"


def test_lists_of_words_are_plain_lines_or_open_images_class_lists(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("# a comment\n/m/011k07,Tortoise\n\n/m/0138tl,Toy\nmug\nmug\n")
    assert read_prompt_words(path) == ("Tortoise", "Toy", "mug")
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no words"):
        read_prompt_words(path)
    with pytest.raises(InputError, match=r"absent\.txt is missing"):
        read_prompt_words(tmp_path / "absent.txt")


def test_the_lists_that_come_with_pops_make_distinct_names() -> None:
    for name, least in (("objects", 150), ("placements", 50), ("attributes", 100)):
        words = shipped_words(name)
        assert len(words) >= least
        assert len({file_word(word) for word in words}) == len(words)


def test_a_users_words_are_what_prompts_are_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "things.txt").write_text("astrolabe\n")
    words = f"--objects_path={tmp_path / 'things.txt'}"
    assert cli.main(["generate", "random", "--dry-run", words, f"--output_dir={tmp_path}"]) == 0
    assert "A photo of an astrolabe " in capsys.readouterr().out


# --- folders of strangers ---------------------------------------------------------------------


def test_files_that_systems_leave_are_no_reason_to_refuse_a_folder(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_text("of the system")
    assert run(tmp_path, "--count=1") == 0


LEADING_OUT = (
    "../secret.txt",
    "/etc/hostname",
    "a/../../b",
    "a//b",
    "./a",
    ".hidden",
    "a\\b",
    "C:x",
)


@pytest.mark.parametrize("name", [*LEADING_OUT, ".hidden", "", "a\0b", "a/"])
@pytest.mark.parametrize("command", ["inspect", "export"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    assert run(folder, "--count=1") == 0
    (tmp_path / "secret.txt").write_text("secret")
    line = next(read_manifest(folder)) | {"files": [name]}
    (folder / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    assert cli.main(["generate", command, str(folder), f"--out={tmp_path / 'out'}"]) == 1
    assert f"line 1: files: {name!r} is not a plain path inside the" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))


@pytest.mark.skipif(sys.platform == "win32", reason="makes a pipe as POSIX systems do")
def test_an_export_waits_for_no_pipe_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    assert run(folder, "--count=1") == 0
    (file,) = folder.glob("*.jpg")
    for said in ("is not a regular file", "is missing"):
        file.unlink()
        if said == "is not a regular file":
            os.mkfifo(file)
        assert cli.main(["generate", "export", str(folder), f"--out={tmp_path / 'out'}"]) == 1
        assert f"{said}: run the same command again" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))


def test_a_sample_that_a_manifest_has_twice_is_exported_once_or_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    assert run(folder, "--count=2") == 0
    lines = (folder / "manifest.jsonl").read_text()
    (folder / "manifest-1-of-2.jsonl").write_text(lines)  # as where folders were merged
    assert cli.main(["generate", "export", str(folder), f"--out={out}"]) == 0
    with tarfile.open(out / "samples-000000.tar") as tar:
        assert len(tar.getnames()) == len(set(tar.getnames())) == 4
    (out / "samples-000000.tar").unlink()
    other = json.loads(lines.splitlines()[0]) | {"name": "other"}
    (folder / "manifest-1-of-2.jsonl").write_text(json.dumps(other) + "\n")
    assert cli.main(["generate", "export", str(folder), f"--out={out}"]) == 1
    said = f"{folder}: its manifests tell of two different samples {other['index']}"
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))


def test_two_files_that_would_have_one_name_in_a_tar_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    assert run(folder, "--count=1") == 0
    line = next(read_manifest(folder))
    for names in (["a.b.jpg", "a-b.jpg"], ["a.jpg", "a.jpg"], ["sample.json"]):
        for name in names:
            (folder / name).write_bytes(b"")
        (folder / "manifest.jsonl").write_text(json.dumps(line | {"files": names}) + "\n")
        assert cli.main(["generate", "export", str(folder), f"--out={tmp_path / 'out'}"]) == 1
        assert f"{folder / names[-1]} would be " in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))


@pytest.mark.parametrize("place", ["data", "data/tars", "data/../data/x/y", "link/tars"])
@pytest.mark.parametrize("command", ["inspect", "export"])
def test_nothing_is_written_into_a_folder_of_samples(
    place: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    assert run(folder, "--count=1") == 0
    (tmp_path / "link").symlink_to(folder)
    before = sorted(folder.iterdir())
    assert cli.main(["generate", command, str(folder), f"--out={tmp_path / place}"]) == 2
    assert f"a folder that is read, {folder}: name another folder" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_a_link_out_of_the_folder_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    assert run(folder, "--count=1") == 0
    (file,) = folder.glob("*.jpg")
    (tmp_path / "secret.jpg").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "secret.jpg")
    assert cli.main(["generate", "export", str(folder), f"--out={tmp_path / 'out'}"]) == 1
    assert "leads out of the folder by a symbolic link" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))
    assert cli.main(["generate", "inspect", str(folder)]) == 1
    assert "leads out of the folder by a symbolic link" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1}, {"index": "0"}, {"name": None}, {"files": []}, {"files": "a.jpg"},
        {"files": [3]}, {"rejections": 3}, {"box": [0, 0, 10**9, 5]}, {"box": [0, 0]},
        {"boxes": {"a": 1}},
    ],
)  # fmt: skip
def test_a_line_of_another_kind_is_named(change: dict[str, object], tmp_path: Path) -> None:
    line = {"index": 0, "name": "a", "files": ["a.jpg"]} | change
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError, match=f"manifest.jsonl, line 1: {next(iter(change))}"):
        list(read_manifest(tmp_path))


def test_settings_of_another_kind_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--count=1") == 0
    (tmp_path / ".generation.json").write_text('{"kind": 3}')
    assert cli.main(["generate", "inspect", str(tmp_path)]) == 1
    assert ".generation.json: kind: Expected `str`".replace("`", "") in capsys.readouterr().err


def test_two_pictures_of_one_name_both_get_a_cut_out(tmp_path: Path) -> None:
    for name in ("cat.jpg", "cat.png", "Cat.webp", "dog.jpg", "12:30.png", ".hidden.png"):
        picture().save(tmp_path / name)
    named = {name: path.name for name, path in name_cutouts(tmp_path).items()}
    assert named == {
        "12-30": "12:30.png",
        "Cat_webp": "Cat.webp",
        "cat_jpg": "cat.jpg",
        "cat_png": "cat.png",
        "dog": "dog.jpg",
    }
    picture().save(tmp_path / "cat_jpg.bmp")
    with pytest.raises(InputError, match=r"would both become cat_jpg\.png: rename one"):
        name_cutouts(tmp_path)


@pytest.mark.parametrize(
    ("kind", "words", "least"), [("textures", "attributes", 3), ("unions", "objects", 2)]
)
def test_too_few_words_are_refused_before_anything_is_made(
    kind: str, words: str, least: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "words.txt"
    given_ = ["generate", kind, "--preset=permissive", f"--{words}_path={listed}", "--dry_run"]
    listed.write_text("\n".join(["red", "blue", "old"][: least - 1] * 9))
    assert cli.main(given_) == 2
    assert f"--{words}_path: the list must hold {least} words or more" in capsys.readouterr().err
    listed.write_text("\n".join(["red", "blue", "old"][:least]))
    assert cli.main(given_) == 0
    looks = PromptWords(("mug",), ("here",), ("red", "blue", "old")).materials(
        random.Random(0), "mug", "here", 5
    )
    assert len(looks) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_cut_out_of_a_picture_whose_name_is_no_utf_8_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    picture().save(folder / os.fsdecode(b"caf\xe9.png"))
    assert list(name_cutouts(folder)) == ["caf-"]
    odd = folder.rename(tmp_path / os.fsdecode(b"\xe9"))
    store = SampleStore(out, Shard())
    no_utf_8 = pytest.raises(OutputError, match="a name in it is not UTF-8.*rename")
    with no_utf_8, store.open({"input_dir": str(odd)}):
        """Never reached."""
    assert not out.exists()


def test_a_mask_of_another_size_is_a_fault_and_no_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "scenes", "--preset=pocket", "--size=16", "--count=2"]
    assert cli.main([*command, f"--output_dir={tmp_path / 'a'}"]) == 0
    mask = next((tmp_path / "a").glob("*.npy"))
    np.save(mask, np.zeros((4, 4), np.uint8))
    assert cli.main(["generate", "inspect", str(tmp_path / "a")]) == 1
    assert "a mask of (4, 4) pixels, but the picture has (16, 16)" in capsys.readouterr().out


@pytest.mark.parametrize("box", [None, [1, 2, 3], ["a", 0, 1, 1], {"x1": 0}, [[0, 0, 1, 1]]])
def test_a_box_of_another_kind_is_told(
    box: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "textures", "--preset=pocket", "--size=16", "--count=1"]
    assert cli.main([*command, f"--output_dir={tmp_path / 'a'}"]) == 0
    next((tmp_path / "a").glob("*/box.json")).write_text(json.dumps(box))
    assert cli.main(["generate", "inspect", str(tmp_path / "a")]) == 1
    assert "box.json: " in capsys.readouterr().out
