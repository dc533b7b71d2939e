"""The loop of a campaign: mutate, read, count; and its supervisor, which outlives a crash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from pops.errors import PopsError
from tests.fuzz.formats import FORMATS, Format
from tests.fuzz.mutate import mutated
from tests.fuzz.watch import TooSlow, Watch, snapshot

__all__ = ["COUNTS", "run_worker", "supervise", "table"]

COUNTS = ("tried", "read", "refused", "unnamed", "tracebacks", "slow", "large", "code", "lost")
FAULTS = ("unnamed", "tracebacks", "crashed", "slow", "large", "code", "lost")


class Case:
    """A format's folder, whose files are changed one at a time and put back."""

    def __init__(self, known: Format, folder: Path) -> None:
        self.format, self.folder = known, folder / known.name / "valid"
        self.folder.mkdir(parents=True)
        known.build(self.folder)
        paths = sorted(path for path in known.files(self.folder) if path.is_file())
        self.contents = {path: path.read_bytes() for path in paths}

    def choose(self, rng: Random) -> Path:
        """Choose a file: each ending is equally likely, so that a few of many are tried too."""
        suffix = rng.choice(sorted({path.suffix for path in self.contents}))
        return rng.choice([path for path in self.contents if path.suffix == suffix])

    def put_back(self, before: Mapping[str, tuple[int, int]], changed: Path) -> list[str]:
        """Restore the folder, and name the files that were touched though no input was."""
        after = snapshot(self.folder)
        own = changed.relative_to(self.folder).as_posix()
        lost = [name for name in before if after.get(name) != before[name]]
        for name in after.keys() - before.keys():
            (self.folder / name).unlink()
        for path in {changed, *(self.folder / name for name in lost)}:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.contents[path])
        return [name for name in lost if name != own or name not in after]


def try_input(case: Case, number: int, seed: int, watch: Watch, debug: bool) -> list[str]:
    """Try one input, which is a function of the format, the seed and its number.

    Returns:
        The counts that it adds to; details of faults go to stdout as JSON.
    """
    rng = Random(f"{seed}/{case.format.name}/{number}")
    path = case.choose(rng)
    path.write_bytes(mutated(case.contents[path], path.suffix, rng, watch.canary))
    before = snapshot(case.folder)
    outcome, detail = "read", ""
    with watch.input() as found:
        try:
            case.format.read(case.folder, path)
        except PopsError as error:
            outcome = "refused" if names(str(error), path, case.folder) else "unnamed"
            detail = str(error)
            found["large"] = holds(error, MemoryError)
        except TooSlow:
            outcome = "slow"
        except BaseException as error:
            outcome, detail = "tracebacks", f"{type(error).__name__}: {error}"[:300]
            if debug or isinstance(error, KeyboardInterrupt):
                traceback.print_exc()
            if isinstance(error, KeyboardInterrupt):
                raise
    lost = case.put_back(before, path)
    counted = ["tried", outcome, *(["large"] if found["large"] else [])]
    counted += (["code"] if found["code"] else []) + (["lost"] if lost else [])
    if faults := [name for name in counted if name in FAULTS] or debug:
        where = path.relative_to(case.folder).as_posix()
        told = {"fault": faults, "format": case.format.name, "number": number, "file": where}
        more = {"error": detail, "code": found["code"], "lost": lost}
        print(json.dumps(told | more), flush=True)
    return counted


def names(message: str, path: Path, folder: Path) -> bool:
    """Whether an error says which file it is about: its name, its stem or a folder it is in."""
    own = path.relative_to(folder)
    known = [path.name, path.stem, *own.parent.parts]
    return any(part in message for part in known)


def holds(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error, or one that caused it, is of a kind."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False


def run_worker(
    formats: Sequence[str], seed: int, start: int, until: float, only: int | None = None
) -> None:
    """Try inputs until a time; tell the counts and every fault on stdout, a line each."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="pops-fuzz-") as place:
        folder = Path(place)
        cases = [Case(FORMATS[name], folder) for name in formats]
        watch = Watch(folder / "canary", folder)
        if only is not None:
            print(try_input(cases[0], only, seed, watch, debug=True))
            return
        number, spent = start, time.process_time()
        while time.time() < until:
            for case in cases:
                print(json.dumps({"trying": case.format.name, "number": number}), flush=True)
                counted = try_input(case, number, seed, watch, debug=False)
                told = {"counted": counted, "format": case.format.name}
                before, spent = spent, time.process_time()
                print(json.dumps(told | {"cpu": spent - before}), flush=True)
            number += 1


def supervise(
    formats: Sequence[str], seed: int, minutes: float, report: Path | None = None
) -> dict[str, Counter[str]]:
    """Run workers one after another until the time is up; one that dies has met a crash.

    Args:
        formats: The names of the formats.
        seed: Of the whole campaign.
        minutes: How long it runs.
        report: A file for the faults, one JSON line each; None for stderr.

    Returns:
        The counts of each format.
    """
    counts = {name: Counter[str]() for name in formats}
    until, number = time.time() + 60 * minutes, 0
    while time.time() < until - 1:
        arguments = [f"--formats={','.join(formats)}", f"--seed={seed}", f"--start={number}"]
        command = [sys.executable, "-m", "tests.fuzz", "--worker", f"--until={until}", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            trying = _collect(worker.stdout, counts, report)
        if worker.returncode == 0:
            break
        if not trying:
            raise RuntimeError("the worker could not start")
        counts[trying["trying"]]["crashed"] += 1
        _tell({"fault": ["crashed"], "status": worker.returncode, **trying}, report)
        number = trying["number"] + 1
        _remove_folders()
    return counts


def _collect(
    lines: Iterable[str], counts: dict[str, Counter[str]], report: Path | None
) -> dict[str, Any]:
    """Add up the lines of a worker; the last input that it tried."""
    trying: dict[str, Any] = {}
    for line in lines:
        if not line.startswith("{"):  # of a library
            continue
        told = json.loads(line)
        if "trying" in told:
            trying = told
        elif "counted" in told:
            counts[told["format"]].update(told["counted"])
            counts[told["format"]]["microseconds"] += round(1e6 * told["cpu"])
        else:
            _tell(told, report)
    return trying


def _tell(fault: Mapping[str, Any], report: Path | None) -> None:
    if report is None:
        print(json.dumps(fault), file=sys.stderr, flush=True)
    else:
        with report.open("a") as file:
            file.write(json.dumps(fault) + "\n")


def _remove_folders() -> None:
    """Remove what a worker that crashed has left: no other campaign may run beside this one."""
    for left in Path(tempfile.gettempdir()).glob("pops-fuzz-*"):
        if left.owner() == Path.home().owner() and os.access(left, os.W_OK):
            shutil.rmtree(left, ignore_errors=True)


def table(counts: Mapping[str, Counter[str]]) -> str:
    """The counts as a table in Markdown, with a row for all."""
    columns = ("tried", "read", "refused", *FAULTS)
    total: Counter[str] = sum((Counter(one) for one in counts.values()), Counter())
    rows = [f"| format | {' | '.join(columns)} | CPU seconds |", "|---" * (len(columns) + 2) + "|"]
    for name, one in [*counts.items(), ("all", total)]:
        cells = " | ".join(f"{one[column]:,}" for column in columns)
        rows.append(f"| {name} | {cells} | {one['microseconds'] / 1e6:,.0f} |")
    return "\n".join(rows)
