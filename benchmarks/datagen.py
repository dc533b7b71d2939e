"""Samples a second of data generation, batched beside the published one-by-one order.

python -m benchmarks.datagen --json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from benchmarks.command import run_benchmark
from benchmarks.machine import cores
from pops.config import setting
from pops.datagen.generators import GENERATORS
from pops.datagen.pocket import pocket_stages
from pops.datagen.pocket_prompts import POCKET_WORDS
from pops.datagen.run import Plan, write_all
from pops.datagen.sample import Rejected, Sample
from pops.datagen.scheduler import Finished, Local, schedule
from pops.datagen.store import Shard, Store
from pops.errors import UsageError

__all__ = ["DatagenBenchmark", "Report", "compare", "main", "one_by_one"]


@dataclass(frozen=True, kw_only=True)
class DatagenBenchmark:
    """Compare data generation with the one-by-one order of the published scripts.

    In that order a sample is finished and written before the next begins, and every stage is asked
    for one thing at a time. Ours asks the stages in batches and writes meanwhile. Both run the
    pocket world, make the same files and take turns in one run.
    """

    kinds: tuple[str, ...] = setting(("textures", "scenes", "unions"), "kinds of record")
    count: int = setting(32, "samples of each kind")
    size: int = setting(64, "pixels of a side of a picture")
    batch_size: int = setting(16, "requests that a stage answers at once")
    repeats: int = setting(2, "turns of each way")
    threads: int | None = setting(None, "CPU threads; null: one for each core")
    json: bool = setting(False, "print one JSON object as the last line")

    examples = ("python -m benchmarks.datagen --json",)

    def __post_init__(self) -> None:
        for name in ("count", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, not {getattr(self, name)}")
        for kind in self.kinds:
            if kind not in GENERATORS:
                raise UsageError(f"unknown kind {kind!r}: the kinds are {', '.join(GENERATORS)}")


@dataclass(frozen=True)
class Report:
    """Seconds for all samples of a kind, by kind."""

    settings: DatagenBenchmark
    one_by_one: dict[str, float]
    batched: dict[str, float]
    same_files: bool

    def values(self) -> dict[str, float]:
        """Everything by name, the ratios first."""
        pairs = {kind.replace(" ", "_"): kind for kind in self.settings.kinds}
        ratios = {
            f"throughput_ratio_{name}": self.one_by_one[kind] / self.batched[kind]
            for name, kind in pairs.items()
        }
        samples = self.settings.count
        speeds = {
            f"samples_per_second_{name}": samples / self.batched[kind]
            for name, kind in pairs.items()
        }
        before = {
            f"samples_per_second_one_by_one_{name}": samples / self.one_by_one[kind]
            for name, kind in pairs.items()
        }
        return {**ratios, **speeds, **before, "same_files": float(self.same_files)}


def one_by_one(plan: Plan, stages: Local) -> Iterator[Finished]:
    """Samples in the order of a loop: one thing asked of one stage at a time."""
    for index in plan.indices:
        rejections: list[str] = []
        for attempt in count():
            try:
                sample = _made(plan, stages, index, attempt)
            except Rejected as reason:
                rejections.append(str(reason))
            else:
                yield Finished(index, attempt, sample, tuple(rejections), {})
                break


def _made(plan: Plan, stages: Local, index: int, attempt: int) -> Sample:
    script = plan.script(index, attempt)
    asked = next(script)
    while True:
        answers = [stages.answer(request.stage, [request])[0] for request in asked]
        try:
            asked = script.send(answers)
        except StopIteration as end:
            sample: Sample = end.value
            return sample


def _time(kind: str, settings: DatagenBenchmark, batched: bool, folder: Path) -> float:
    """Seconds to make and write every sample of a kind into a new folder."""
    plan = Plan(kind, POCKET_WORDS, seed=0, count=settings.count)
    store = Store(folder, Shard())
    started = perf_counter()
    with store.open({"kind": kind}):
        stages = Local(pocket_stages(settings.size, share=batched))
        if batched:
            made = schedule(plan.indices, plan.script, stages, settings.batch_size)
            for _ in write_all(made, store, plan.seed, settings.batch_size):
                pass
        else:
            for one in one_by_one(plan, stages):
                store.add(one.sample, {"index": one.index})
    return perf_counter() - started


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl" and not path.name.startswith(".")
    }


def compare(settings: DatagenBenchmark) -> Report:
    """Run the benchmark."""
    torch.set_num_threads(settings.threads or cores())
    seconds: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    same = True
    for kind in settings.kinds:
        for _ in range(settings.repeats):
            with tempfile.TemporaryDirectory() as root:
                for batched in (False, True):
                    folder = Path(root) / str(batched)
                    spent = _time(kind, settings, batched, folder)
                    seconds[batched].setdefault(kind, []).append(spent)
                same &= _files(Path(root) / "True") == _files(Path(root) / "False")
    middle = {
        way: {kind: median(times) for kind, times in by_kind.items()}
        for way, by_kind in seconds.items()
    }
    return Report(settings, middle[False], middle[True], same)


def show(report: Report) -> str:
    """The report as a table."""
    settings = report.settings
    rows = [
        f"{settings.count} samples of each kind, {settings.size} pixels, pocket world",
        f"{'kind':<16}{'one by one':>12}{'batched':>12}{'ratio':>8}",
    ]
    for kind in settings.kinds:
        before, after = report.one_by_one[kind], report.batched[kind]
        rows.append(
            f"{kind:<16}{settings.count / before:>10.1f}/s{settings.count / after:>10.1f}/s"
            f"{before / after:>8.1f}"
        )
    rows.append("the files are " + ("the same" if report.same_files else "NOT the same"))
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_benchmark("datagen", DatagenBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
