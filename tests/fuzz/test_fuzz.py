"""The campaign itself: the same inputs for a seed, files put back, and faults that are counted."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from pops.errors import InputError
from tests.fuzz.campaign import Case, _collect, names, table
from tests.fuzz.formats import FORMATS, Format
from tests.fuzz.mutate import mutated
from tests.fuzz.watch import snapshot


def build(folder: Path) -> None:
    (folder / "a.txt").write_text("one: 1\ntwo: 2\n")
    (folder / "b.json").write_text('{"three": [3]}')


@pytest.mark.parametrize("suffix", [".txt", ".json", ".png", ".pth", ".safetensors", ".npz", ""])
def test_an_input_is_a_function_of_its_seed(tmp_path: Path, suffix: str):
    content = b'{"a": 1, "b": [2, 3]}'
    made = [
        [mutated(content, suffix, Random(f"1/{number}"), tmp_path) for number in range(40)]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(set(made[0])) > 20


def test_a_changed_file_is_put_back_and_others_that_were_touched_are_told(tmp_path: Path):
    case = Case(Format("plain", build, lambda folder, path: None), tmp_path)
    changed = case.folder / "a.txt"
    changed.write_bytes(b"changed")
    before = snapshot(case.folder)
    (case.folder / "b.json").unlink()
    (case.folder / "new").touch()
    assert case.put_back(before, changed) == ["b.json"]
    assert {path.name: path.read_bytes() for path in case.folder.iterdir()} == {
        "a.txt": b"one: 1\ntwo: 2\n",
        "b.json": b'{"three": [3]}',
    }


def test_an_error_names_its_file_or_the_folder_of_it(tmp_path: Path):
    path = tmp_path / "operators" / "whole" / "operator.json"
    assert names(f"{path}: unknown field", path, tmp_path)
    assert names("whole: its weights are damaged", path, tmp_path)
    assert not names(str(InputError("it is damaged")), path, tmp_path)


def test_counts_and_faults_of_a_worker_are_told_apart(tmp_path: Path):
    lines = [
        {"trying": "words", "number": 3},
        {"fault": ["tracebacks"], "format": "words"},
        {"counted": ["tried", "tracebacks"], "format": "words", "cpu": 0.5},
    ]
    counts = {"words": Counter[str]()}
    text = ["a warning of a library\n", *(json.dumps(line) + "\n" for line in lines)]
    assert _collect(text, counts, tmp_path / "report") == lines[0]
    assert counts["words"] == {"tried": 1, "tracebacks": 1, "microseconds": 500_000}
    assert json.loads((tmp_path / "report").read_text()) == lines[1]
    assert "| words | 1 | 0 | 0 | 0 | 1 |" in table(counts)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched by /proc")
def test_a_short_campaign_over_all_formats_finds_no_fault(tmp_path: Path):
    report = tmp_path / "faults"
    command = [sys.executable, "-m", "tests.fuzz", "--minutes=1", "--seed=1", f"--report={report}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, report.read_text() if report.exists() else done.stderr
    assert all(f"| {name} | " in done.stdout for name in FORMATS)
