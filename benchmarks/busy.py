"""Four kinds of work on an idle and on a busy machine, for each way in which threads can wait.

python -m benchmarks.busy
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.harness.command import run_benchmark
from benchmarks.harness.machine import cores
from benchmarks.harness.page import check_page, write_table
from pops.errors import PopsError, UsageError
from pops.settings.fields import AMOUNT, Range, Settings, setting
from pops.settings.threads import CHOICES

__all__ = ["BusyBenchmark", "Report", "main", "markdown", "measure"]

ROOT = Path(__file__).parents[1]
POPS = (sys.executable, "-m", "pops")
# pops leaves the environment alone where one of these is set. KMP_BLOCKTIME=200 is the default of
# LLVM's and Intel's OpenMP, and GNU's does not read it: so it stands for what torch does by itself.
WAITS = {
    "torch": {"KMP_BLOCKTIME": "200"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin_1000": {"GOMP_SPINCOUNT": "1000"},
    "pops": {},
}
LOADS = ("idle", "busy")
TABLE = "numbers of a busy machine"  # the name in the marks of a page


@dataclass(frozen=True, kw_only=True)
class BusyBenchmark(Settings):
    """Time whole commands while nothing else runs, and beside processes that never rest.

    Every command is a process of its own, from its start to its end. All of them take turns, and
    the median of each is reported. Nothing else should run on the machine meanwhile. On two idle
    cores one turn takes some three minutes, and no other is begun unless it fits the time.
    """

    works: tuple[str, ...] = setting(
        ("prior", "training", "generation", "apply"), "the commands that are timed"
    )
    waits: tuple[str, ...] = setting(
        ("torch", "passive", "pops"),
        "how threads wait: torch (its default), passive, spin_1000 or pops (ours)",
    )
    beside: int = setting(
        1, "busy processes beside the command, each on one core", within=Range(1, 1000)
    )
    steps: int = setting(10, "training steps", within=AMOUNT)
    count: int = setting(12, "samples that are generated", within=AMOUNT)
    repeats: int = setting(3, "turns at most", within=Range(1, 1000))
    seconds: float = setting(
        240.0, "time in which a further turn must fit; the first always runs", within=Range(0, 1e6)
    )
    page: Path | None = setting(None, "Markdown file whose marked table is written anew")
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.busy --page=docs/performance.md",
        "python -m benchmarks.busy --works=apply --repeats=1   # a small try",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given, known in (
            ("works", self.works, _commands(self, Path())),
            ("waits", self.waits, WAITS),
        ):
            for word in given:
                if word not in known:
                    raise UsageError(f"--{name} knows {', '.join(known)}, but not {word!r}")


@dataclass(frozen=True)
class Report:
    """The median seconds of every command, by work, load and wait."""

    settings: BusyBenchmark
    turns: int
    load: float  # processes that wanted a core before, on average of a minute
    seconds: dict[tuple[str, str, str], float]

    def values(self) -> dict[str, float]:
        """List all medians by name.

        Returns:
            Seconds, by the names of load, work and wait.
        """
        return {"seconds_" + "_".join(key): value for key, value in self.seconds.items()}


def measure(settings: BusyBenchmark) -> Report:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements.
    """
    if settings.page is not None:
        check_page(settings.page, TABLE)  # before anything is measured
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    times: dict[tuple[str, str, str], list[float]] = {}
    start, turns = perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(settings, Path(folder))
        if "training" in settings.works:
            _seconds([*commands["generation"], "--output_dir", f"{folder}/data"], {})
        while turns < settings.repeats and _fits(perf_counter() - start, turns, settings.seconds):
            for key, seconds in _turn(settings, commands, f"{folder}/{turns}"):
                times.setdefault(key, []).append(seconds)
            turns += 1
    report = Report(settings, turns, load, {key: median(own) for key, own in times.items()})
    if settings.page is not None:
        write_table(settings.page, TABLE, markdown(report))
    return report


def _fits(spent: float, turns: int, limit: float) -> bool:
    """Tell whether a further turn ends in time, as far as those before it tell."""
    return turns == 0 or spent * (turns + 1) / turns <= limit


def _turn(
    settings: BusyBenchmark, commands: dict[str, list[str]], folder: str
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """Time every command once, by work, load and wait."""
    for load in LOADS:
        with _beside(settings.beside if load == "busy" else 0):
            for work, wait in product(settings.works, settings.waits):
                command = [*commands[work], *_output(work, f"{folder}-{load}-{wait}")]
                yield (work, load, wait), _seconds(command, WAITS[wait])


def _commands(settings: BusyBenchmark, folder: Path) -> dict[str, list[str]]:
    """List the command of every kind of work, without where it writes."""
    generate = [*POPS, "generate", "textures", "--preset=pocket", "--device=cpu"]
    train = [*POPS, "train", "--stack=pocket", f"--dataset_path={folder / 'data'}", "--device=cpu"]
    prior = [sys.executable, "-m", "benchmarks.prior", "--layers=6", "--heads=16", "--batches=8"]
    assets = ROOT / "assets"
    return {
        "prior": [*prior, "--device=cpu", "--repeats=2", "--matmul_size=512", "--mebibytes=16"],
        "training": [*train, f"--max_train_steps={settings.steps}", "--lr=1e-5"],
        "generation": [*generate, f"--count={settings.count}"],
        "apply": [
            *(*POPS, "apply", "texturing", str(assets / "objects" / "mug.png")),
            *(str(assets / "textures" / "wood.png"), "--device=cpu"),
        ],
    }


def _output(work: str, folder: str) -> list[str]:
    """List the flags that say where a command writes."""
    flags = {"training": "--output_dir", "generation": "--output_dir", "apply": "--out"}
    return [f"{flags[work]}={folder}-{work}"] if work in flags else []


def _seconds(command: Sequence[str], wait: dict[str, str]) -> float:
    """Time a command that runs as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    start = perf_counter()
    run = subprocess.run(
        command, cwd=ROOT, env=kept | wait, capture_output=True, text=True, check=False
    )
    seconds = perf_counter() - start
    if run.returncode:
        said = run.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise PopsError(f"{' '.join(command)} failed: {said[0]}")
    return seconds


@contextmanager
def _beside(count: int) -> Iterator[None]:
    """Let so many processes compute without a rest inside the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def show(report: Report) -> str:
    """Write the report as text."""
    settings = report.settings
    columns = list(product(LOADS, settings.waits))
    heads = (f"{f'{load} {wait}':>16}" for load, wait in columns)
    lines = [
        f"{cores()} cores; busy: beside {settings.beside} process(es) that never rest; seconds; "
        f"before, {report.load:.1f} processes wanted a core",
        f"{'':12}" + "".join(heads),
    ]
    for work in settings.works:
        cells = (f"{report.seconds[work, load, wait]:16.1f}" for load, wait in columns)
        lines.append(f"{work:12}" + "".join(cells))
    lines.append(f"medians of {report.turns} turn(s), each command a process of its own")
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """Write the report as a table of a page.

    Args:
        report: The measurements.

    Returns:
        Lines of Markdown.
    """
    settings = report.settings
    columns = list(product(LOADS, settings.waits))
    rows = [
        "| " + " | ".join(cells) + " |"
        for cells in (
            ("seconds", *(f"{load}, {wait}" for load, wait in columns)),
            ("---",) * (len(columns) + 1),
            *(
                (work, *(f"{report.seconds[work, load, wait]:.1f}" for load, wait in columns))
                for work in settings.works
            ),
        )
    ]
    told = (
        f"{cores()} cores; busy: beside {settings.beside} process(es) that never rest. Medians of "
        f"{report.turns} turn(s). Before, {report.load:.1f} processes wanted a core."
    )
    return "\n".join([*rows, "", told])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("busy", BusyBenchmark, measure, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
