"""Data generation by a Ray cluster on one machine, beside the same in one process."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event

from benchmarks.harness.datagen_settings import DatagenBenchmark
from benchmarks.harness.machine import cores
from pops.datagen.config import GenerateConfig
from pops.datagen.folder.store import SampleStore
from pops.datagen.generators import GENERATORS
from pops.datagen.pocket.prompts import POCKET_WORDS
from pops.datagen.pocket.stages import pocket_stages
from pops.datagen.run import Generation, make_samples, write_all
from pops.datagen.sample import Script
from pops.errors import UsageError, install_hint
from pops.settings.shard import Shard

__all__ = ["EngineReport", "compare_engines", "files_of"]


@dataclass(frozen=True)
class Turn:
    """One run of an engine, from the first request to the last file.

    `startup`: seconds before that: Ray's actors start, and import what they need.
    `processor`: seconds of the processor, of this process and of all that came of it, which says
    what is done where other programs keep the machine busy.
    """

    startup: float
    seconds: float
    processor: float


@dataclass(frozen=True)
class EngineReport:
    """The turns of each engine, by kind."""

    count: int
    cores: int
    local: dict[str, list[Turn]]
    ray: dict[str, list[Turn]]
    same_files: bool

    def overhead(self, kind: str, what: str = "seconds") -> float:
        """Compute how much more Ray takes, as a share: the median of the turns.

        Args:
            kind: The kind of sample.
            what: The field of `Turn` that is compared.

        Returns:
            The ratio of Ray's number to that of one process, less 1.
        """
        pairs = zip(self.ray[kind], self.local[kind], strict=True)
        return median(getattr(ray, what) / getattr(local, what) for ray, local in pairs) - 1

    def values(self) -> dict[str, float]:
        """List all numbers by name.

        Returns:
            The numbers by name.
        """
        found: dict[str, float] = {}
        for kind in self.ray:
            name = kind.replace(" ", "_")
            found[f"ray_overhead_{name}"] = self.overhead(kind)
            found[f"ray_overhead_processor_{name}"] = self.overhead(kind, "processor")
            found[f"samples_per_second_{name}"] = self.count / _middle(self.local[kind])
            found[f"samples_per_second_ray_{name}"] = self.count / _middle(self.ray[kind])
            found[f"ray_startup_seconds_{name}"] = _middle(self.ray[kind], "startup")
        return {**found, "same_files": float(self.same_files)}

    def text(self) -> str:
        """Write the report as a table.

        Returns:
            Lines of text.
        """
        rows = [
            f"{self.count} samples of each kind, pocket world, {self.cores} cores for either way",
            f"{'kind':<16}{'local':>12}{'ray':>12}{'overhead':>10}{'processor':>11}{'start-up':>10}",
        ]
        for kind in self.ray:
            rows.append(
                f"{kind:<16}{self.count / _middle(self.local[kind]):>10.1f}/s"
                f"{self.count / _middle(self.ray[kind]):>10.1f}/s{self.overhead(kind):>10.1%}"
                f"{self.overhead(kind, 'processor'):>11.1%}"
                f"{_middle(self.ray[kind], 'startup'):>8.1f} s"
            )
        rows.append("the files are " + ("the same" if self.same_files else "NOT the same"))
        return "\n".join(rows)


def _middle(turns: Sequence[Turn], what: str = "seconds") -> float:
    return median(getattr(turn, what) for turn in turns)


@dataclass(frozen=True)
class _Clocked:
    """A plan that leaves a file when its first sample is begun, in whatever process."""

    plan: Generation
    begun: Path

    def script(self, index: int, attempt: int) -> Script:
        if not self.begun.exists():
            self.begun.touch()
        return self.plan.script(index, attempt)


def compare_engines(settings: DatagenBenchmark) -> EngineReport:
    """Make the same samples by both engines, in turns, on the same cores.

    Args:
        settings: What is made, and how often.

    Returns:
        The measurements.

    Raises:
        UsageError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"--engine ray needs Ray Data: {install_hint('cluster')}") from error
    limit = settings.threads or cores()
    if hasattr(os, "sched_setaffinity"):  # for Ray's processes too, which begin here
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:limit])
    ray.init(num_cpus=limit, log_to_driver=False, logging_level=logging.ERROR)
    # No pool begins before all can: what starting costs is then apart from what making costs.
    ray.data.DataContext.get_current().wait_for_min_actors_s = 600
    turns: dict[str, dict[str, list[Turn]]] = {"local": {}, "ray": {}}
    same = True
    try:
        for kind in settings.kinds:
            for _ in range(settings.repeats):
                with tempfile.TemporaryDirectory() as root:
                    for engine, of_kinds in turns.items():
                        turn = _turn(kind, settings, engine, Path(root))
                        of_kinds.setdefault(kind, []).append(turn)
                    same &= files_of(Path(root) / "local") == files_of(Path(root) / "ray")
    finally:
        ray.shutdown()
    return EngineReport(settings.count, limit, turns["local"], turns["ray"], same)


def _turn(kind: str, settings: DatagenBenchmark, engine: str, root: Path) -> Turn:
    config = GenerateConfig(
        preset="pocket", size=settings.size, engine=engine, batch_size=settings.batch_size
    )
    plan = Generation(kind, POCKET_WORDS, seed=0, count=settings.count)
    clocked = _Clocked(plan, root / f"{engine}-begun")
    stages = pocket_stages(settings.size)
    store = SampleStore(root / engine, Shard())
    meter = _Meter(clocked.begun)
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as threads, store.open({"kind": kind}):
        watching = threads.submit(meter.watch)
        asked = GENERATORS[kind].stages
        made = make_samples(plan.indices, clocked.script, asked, config, stages)
        try:
            for _ in write_all(made, store, plan.seed, settings.batch_size):
                pass
            end = time.perf_counter()
        finally:
            meter.over.set()
        begun, processor = watching.result()
    return Turn(begun - started, end - begun, processor)


class _Meter:
    """Looks now and then at the processor's time of this process and its descendants.

    Linux only. Of a process that has ended counts what it had used at the last look.
    """

    def __init__(self, begun: Path) -> None:
        self.begun = begun
        self.over = Event()

    def watch(self) -> tuple[float, float]:
        """Tell when the file appeared, and the seconds used from then on."""
        while not (self.begun.exists() or self.over.is_set()):
            time.sleep(0.005)
        begun, before = time.perf_counter(), _ticks()
        used = dict(before)
        while not self.over.wait(0.25):
            used |= _ticks()
        used |= _ticks()
        ticks = sum(used.values()) - sum(before.values())
        return begun, ticks / os.sysconf("SC_CLK_TCK")


def _ticks() -> dict[int, int]:
    """Read the processor's time of this process and its descendants, by their numbers."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    own = {os.getpid()}
    while more := {number for number, parent in parents.items() if parent in own} - own:
        own |= more
    return {number: ticks[number] for number in own & ticks.keys()}


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file of the samples of a folder.

    Args:
        folder: The folder that data generation wrote.

    Returns:
        The content of each file, by its path in the folder.
    """
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl" and not path.name.startswith(".")
    }
