"""A command does its work whatever becomes of its standard output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pops.settings.flags.parsing import run_command


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


@pytest.mark.skipif(sys.platform == "win32", reason="closes files as POSIX systems do")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_number_of_a_stream_that_is_closed(closed: str, tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
from pops.settings.flags.parsing import run_command
from pops.settings.progress import ProgressBars

def work(given):
    with open(given[0], "wb") as file:
        assert file.fileno() > 2
        os.write(1, b"of a library")
        os.write(2, b"of a library")
        subprocess.run([sys.executable, "-c", "import sys; print(1, file=sys.stderr)"], check=True)
        bars = ProgressBars()
        for done in range(3):
            bars("work", done, 3)
            bars.bar.delay = 0
        bars.close()
        print(1, file=sys.stdout)
        print(1, file=sys.stderr)
    return 0

sys.exit(run_command("pops", [sys.argv[1]], work))
"""
    made = tmp_path / "made"
    command = f'exec "$0" -c "$1" "$2" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, code, str(made)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert made.read_bytes() == b""


def test_the_flag_that_shows_where_an_error_arose_may_be_a_file() -> None:
    heard: list[list[str]] = []

    def work(given: list[str]) -> int:
        heard.append(given)
        return 0

    assert run_command("pops", ["apply", "--debug", "--", "--debug", "a"], work) == 0
    assert heard == [["apply", "--", "--debug", "a"]]
