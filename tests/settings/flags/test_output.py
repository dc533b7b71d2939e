"""A command does its work whatever becomes of its standard output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_python(code: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", code], stderr=subprocess.PIPE, check=False, **options
    )


PROGRAM = """
import sys
from pathlib import Path
from pops.settings.flags.parsing import run_command

def work(given):
    for number in range(3):
        print("虎", number, flush=True)
    Path(given[0]).touch()
    return 0

sys.exit(run_command("pops", [{path!r}], work))
"""


def test_a_reader_that_has_gone_stops_no_work(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run_python(PROGRAM.format(path=str(tmp_path / "made")), stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "made").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_name_that_the_terminal_cannot_show_is_escaped(encoding: str, tmp_path: Path) -> None:
    done = run_python(
        PROGRAM.format(path=str(tmp_path / "made")),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "made").exists()
    assert done.stdout.splitlines()[0] == rb"\u864e 0"


def test_a_closed_output_stops_no_work(tmp_path: Path) -> None:
    code = PROGRAM.format(path=str(tmp_path / "made"))
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"") and (tmp_path / "made").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_the_output_is_no_success(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run_python(PROGRAM.format(path=str(tmp_path / "made")), stdout=full)
    assert done.returncode == 1 and b"no space left" in done.stderr
