"""Pools of workers that end with the process that started them, and locks that end with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pops.errors import UsageError
from pops.io.files import folder_lock
from pops.io.machine.processes import process_pool

PROGRAM = """
import os, sys, time
from pops.io.machine import processes
from pops.io.machine.processes import process_pool

if sys.argv[2] == "watched":  # as where the system cannot be asked to kill a process with another
    processes._killed_with_parent = lambda pid: False

def work(seconds):
    time.sleep(seconds)
    return os.getpid()

if __name__ == "__main__":
    with process_pool(2, sys.argv[1]) as pool:
        print(*pool.map(work, [0.5, 0.5]), flush=True)
        list(pool.map(work, [600, 600]))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("way", ["asked", "watched"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_workers_of_a_pool_end_with_a_process_that_is_killed(
    method: str, way: str, tmp_path: Path
):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), method, way]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = {int(word) for word in process.stdout.readline().split()}
    assert workers and process.pid not in workers
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 30
    while alive := [pid for pid in workers if Path(f"/proc/{pid}/exe").exists()]:
        if time.monotonic() > deadline:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{alive} live on")
        time.sleep(0.05)


def test_a_pool_gives_what_its_workers_make():
    with process_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


def test_a_folder_in_which_nothing_was_made_is_left_as_it_was(tmp_path: Path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "new" / "deep"):
        with pytest.raises(LookupError), folder_lock(folder):
            raise LookupError
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]
    with pytest.raises(LookupError), folder_lock(tmp_path / "new"):
        (tmp_path / "new" / "result").touch()
        raise LookupError
    assert {entry.name for entry in (tmp_path / "new").iterdir()} == {".lock", "result"}


def test_a_folder_is_held_by_one_until_it_lets_go(tmp_path: Path):
    with folder_lock(tmp_path / "a"):
        with (
            pytest.raises(UsageError, match="another run is at work in"),
            folder_lock(tmp_path / "a"),
        ):
            pass
        with folder_lock(tmp_path / "a", ".lock-1-of-2"):
            pass
    with folder_lock(tmp_path / "a"):
        pass
