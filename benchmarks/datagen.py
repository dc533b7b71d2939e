"""Samples a second of data generation, batched beside the published one-by-one order.

python -m benchmarks.datagen --json                 # batches beside one by one
python -m benchmarks.datagen --engine ray --json    # a Ray cluster beside one process
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from benchmarks.harness.command import run_benchmark
from benchmarks.harness.datagen_settings import DatagenBenchmark
from benchmarks.harness.engines import EngineReport, compare_engines, files_of
from benchmarks.harness.machine import cores
from pops.datagen.engines.local import Finished, Local, schedule
from pops.datagen.folder.store import SampleStore
from pops.datagen.pocket.prompts import POCKET_WORDS
from pops.datagen.pocket.stages import pocket_stages
from pops.datagen.run import Generation, write_all
from pops.datagen.sample import Rejected, Sample
from pops.datagen.stages import Stages
from pops.datagen.words import PromptWords
from pops.settings.shard import Shard

__all__ = ["DatagenBenchmark", "Report", "compare", "main", "one_by_one"]


@dataclass(frozen=True)
class Report:
    """The seconds that both ways take for all samples of a kind, by kind."""

    settings: DatagenBenchmark
    turns: dict[str, list[float]]  # ratios of the turns
    one_by_one: dict[str, float]
    batched: dict[str, float]
    same_files: bool

    def values(self) -> dict[str, float]:
        """List everything by name, the ratios first.

        Returns:
            The numbers by name.
        """
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

    def text(self) -> str:
        """Write the report as a table.

        Returns:
            Lines of text.
        """
        settings = self.settings
        rows = [
            f"{settings.count} samples of each kind, {settings.size} pixels, {settings.models}",
            f"{'kind':<16}{'one by one':>12}{'batched':>12}{'ratio':>8}   of each turn",
        ]
        for kind in settings.kinds:
            before, after = self.one_by_one[kind], self.batched[kind]
            turns = " ".join(f"{ratio:.1f}" for ratio in self.turns[kind])
            rows.append(
                f"{kind:<16}{settings.count / before:>10.1f}/s{settings.count / after:>10.1f}/s"
                f"{before / after:>8.1f}   {turns}"
            )
        rows.append("the files are " + ("the same" if self.same_files else "NOT the same"))
        return "\n".join(rows)


def one_by_one(plan: Generation, stages: Local) -> Iterator[Finished]:
    """Make samples in the order of a loop: one thing asked of one stage at a time.

    Args:
        plan: The samples that are made.
        stages: The models that answer.

    Yields:
        The samples in order, each as soon as it is finished.
    """
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


def _made(plan: Generation, stages: Local, index: int, attempt: int) -> Sample:
    script = plan.script(index, attempt)
    asked = next(script)
    while True:
        answers = [stages.answer(request.stage, [request])[0] for request in asked]
        try:
            asked = script.send(answers)
        except StopIteration as end:
            sample: Sample = end.value
            return sample


# Words, and stages that answer batches or one thing at a time.
_Setting = tuple[PromptWords, Callable[[bool], Stages]]


@contextmanager
def _setting(settings: DatagenBenchmark) -> Iterator[_Setting]:
    if settings.models == "pocket":
        yield POCKET_WORDS, lambda batched: pocket_stages(settings.size, share=batched)
        return
    from benchmarks.models.tiny_stages import TINY_WORDS, tiny_stages

    with tiny_stages(settings.size) as stages:
        yield TINY_WORDS, lambda batched: stages


def _time(
    kind: str, settings: DatagenBenchmark, ways: _Setting, batched: bool, folder: Path
) -> float:
    """Time how every sample of a kind is made and written into a new folder."""
    words, make_stages = ways
    plan = Generation(kind, words, seed=0, count=settings.count)
    store = SampleStore(folder, Shard())
    stages = Local(make_stages(batched))
    started = perf_counter()
    with store.open({"kind": kind}):
        if batched:
            made = schedule(plan.indices, plan.script, stages, settings.batch_size)
            for _ in write_all(made, store, plan.seed, settings.batch_size):
                pass
        else:
            for one in one_by_one(plan, stages):
                store.add(one.sample, {"index": one.index})
    return perf_counter() - started


def _same(one: Path, other: Path, models: str) -> bool:
    """Tell whether two folders hold the same files.

    Models round otherwise in batches, so theirs are compared by name.
    """
    ours, theirs = files_of(one), files_of(other)
    return ours == theirs if models == "pocket" else ours.keys() == theirs.keys()


def compare(settings: DatagenBenchmark) -> Report | EngineReport:
    """Run the benchmark.

    Args:
        settings: What is measured, and how often.

    Returns:
        The measurements: of both ways, or of both engines with `--engine ray`.
    """
    torch.set_num_threads(settings.threads or cores())
    if settings.engine == "ray":
        return compare_engines(settings)
    seconds: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    same = True
    with _setting(settings) as ways:
        for kind in settings.kinds:
            for _ in range(settings.repeats):
                with tempfile.TemporaryDirectory() as root:
                    for batched in (False, True):
                        folder = Path(root) / str(batched)
                        spent = _time(kind, settings, ways, batched, folder)
                        seconds[batched].setdefault(kind, []).append(spent)
                    same &= _same(Path(root) / "True", Path(root) / "False", settings.models)
    middle = {
        way: {kind: median(times) for kind, times in by_kind.items()}
        for way, by_kind in seconds.items()
    }
    turns = {
        kind: [one / ours for one, ours in zip(seconds[False][kind], times, strict=True)]
        for kind, times in seconds[True].items()
    }
    return Report(settings, turns, middle[False], middle[True], same)


def show(report: Report | EngineReport) -> str:
    """Write the report as a table."""
    return report.text()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("datagen", DatagenBenchmark, compare, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
