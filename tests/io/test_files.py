"""Files and folders are whole or absent, and what dead processes left behind is removed."""

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.errors import OutputError
from pops.io import files
from pops.io.embeddings import Embeddings
from pops.io.files import atomic_path, make_folder, staged_folder
from pops.io.pictures import save_picture
from tests.io.limits import no_larger_than


def test_a_failed_write_keeps_the_old_file_and_removes_its_part(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.bin") as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no space left on device"),
        atomic_path(tmp_path / "a.bin"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "ours") as part:
        part.touch()
    Embeddings(torch.zeros(1, 4)).save(tmp_path / "made.safetensors")  # whose library makes its own
    names = ("usual", "ours", "made.safetensors")
    usual, *ours = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names)
    assert ours == [usual] * 2


def test_a_folder_under_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        make_folder(tmp_path / "file" / "folder")


def test_staged_files_arrive_together(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with staged_folder(out) as stage:
        (stage / "one").write_text("1")
        (stage / "two").write_text("2")
        assert not (out / "one").exists()
    assert sorted(entry.name for entry in out.iterdir()) == ["one", "two"]


def test_a_failed_stage_leaves_the_place_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "a" / "out") as stage:
        (stage / "one").write_text("1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_stage_keeps_a_folder_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "out"):
        raise RuntimeError
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["old"]


@pytest.mark.skipif(os.name == "nt", reason="Windows takes fewer names")
@settings(max_examples=50, deadline=None)
@given(
    st.text(min_size=1, max_size=80).filter(
        lambda name: not set(name) & {"/", "\0"} and name.strip(".") and len(name.encode()) < 256
    )
)
def test_any_name_that_the_system_takes_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, name: str
):
    folder = tmp_path_factory.mktemp("names")
    with atomic_path(folder / name) as part:
        part.write_text("content")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "content")]


HELD = """
import sys, time
from pathlib import Path
from pops.io.files import atomic_path, staged_folder
folder = Path(sys.argv[1])
with atomic_path(folder / "a.bin") as part, staged_folder(folder) as stage:
    part.write_text("half")
    (stage / "b.bin").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def writing(folder: Path) -> subprocess.Popen[str]:
    """A process that is at work in the folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
):
    with writing(tmp_path) as killed, writing(tmp_path) as living:
        try:
            killed.send_signal(signal.SIGTERM)
            killed.wait(10)
            assert len(list(tmp_path.iterdir())) == 4
            files.remove_leftovers.cache_clear()  # as in a process that starts now
            with atomic_path(tmp_path / "c.bin") as part:
                part.write_text("whole")
            assert len(list(tmp_path.glob(".pops-*"))) == 2
            assert (tmp_path / "c.bin").read_text() == "whole"
        finally:
            living.kill()
    files.remove_leftovers.cache_clear()
    with staged_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["c.bin"]


def test_a_folder_that_another_process_holds_or_removes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mkdtemp, held = tempfile.mkdtemp, []

    def taken(**options: Any) -> str:
        """The first is locked by another before we come to it, the second is removed."""
        folder = mkdtemp(**options)
        if not held:
            held.append(FileLock(Path(folder) / files.LOCK, timeout=0))
            held[0].acquire()
        elif len(held) == 1:
            held.append(None)
            os.rmdir(folder)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    for name in "ab":
        with atomic_path(tmp_path / name) as part:
            part.write_text(name)
    held[0].release()
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a", "b"]
    assert len(list(tmp_path.glob(".pops-*"))) == 1  # which is the other's to remove


def test_a_file_system_without_locks_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def none(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    (tmp_path / ".pops-other" / "files").mkdir(parents=True)
    with atomic_path(tmp_path / "a") as part:
        part.write_text("1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pops-other", "a"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of the size of files")
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.png"])
def test_a_file_that_the_system_takes_no_more_of_is_named_and_not_left(
    name: str, tmp_path: Path
) -> None:
    write: Callable[[Path], None]
    if name == "a.png":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        write = partial(save_picture, Image.fromarray(noise))
    else:
        write = Embeddings(torch.randn(64, 64)).save
    with (
        no_larger_than(4000),
        pytest.raises(OutputError, match=rf"cannot write {tmp_path}/out/{name}: "),
        staged_folder(tmp_path / "out") as stage,
    ):
        write(stage / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EFBIG, errno.EACCES])
def test_a_disk_that_is_full_is_told_where_a_library_names_no_file(
    reason: int, tmp_path: Path
) -> None:
    full = reason != errno.EACCES
    expected = pytest.raises(OutputError if full else PermissionError)
    with expected as told, staged_folder(tmp_path / "out"):
        raise OSError(reason, os.strerror(reason))
    if full:
        assert str(told.value).startswith(f"cannot write {tmp_path / 'out'}: ")
    assert not (tmp_path / "out").exists()
