"""Many scripts at once, so that every stage works on full batches.

A script asks for one thing after another; the scheduler keeps a few batches of scripts going and
always serves the stage that most requests wait for. A rejected sample is tried again at once, with
the randomness of its next attempt.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pops.datagen.sample import Rejected, Sample, Script
from pops.datagen.stages import Request, Stages
from pops.errors import PopsError

__all__ = ["Finished", "Local", "Runner", "answer_all", "schedule"]

MOST_ATTEMPTS = 50  # at one sample: then words and stages do not fit each other
MOST_TRIES = 3  # of one request, where a stage fails
BATCHES_IN_FLIGHT = 2

MakeScript = Callable[[int, int], Script]  # index, attempt -> script
Runner = Callable[[str, Sequence[Request]], Sequence[Any]]  # stage, requests -> answers


@dataclass(frozen=True)
class Finished:
    """A sample that was accepted, and what it took."""

    index: int
    attempt: int
    sample: Sample
    rejections: tuple[str, ...]
    seconds: dict[str, float]  # by stage: its share of the batches it was in


@dataclass
class _Job:
    index: int
    script: Script
    attempt: int = 0
    asked: list[Request] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    rejections: list[str] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> list[int]:
        return [k for k in range(len(self.asked)) if k not in self.answers]


def schedule(
    indices: Iterable[int],
    make: MakeScript,
    run: Runner,
    batch_size: int,
    rejected: Callable[[str], None] = lambda reason: None,
) -> Iterator[Finished]:
    """Run the script of every index until it is accepted; in the order in which they finish.

    Raises:
        PopsError: a stage fails again and again, or a sample is rejected again and again.
    """
    left = iter(indices)
    jobs: dict[int, _Job] = {}
    while True:
        for index in islice(left, batch_size * BATCHES_IN_FLIGHT - len(jobs)):
            jobs[index] = _Job(index, make(index, 0))
            jobs[index].asked = next(jobs[index].script)
        if not jobs:
            return
        stage, batch = _fullest(jobs.values(), batch_size)
        started = time.perf_counter()
        answers = run(stage, [job.asked[k] for job, k in batch])
        share = (time.perf_counter() - started) / len(batch)
        for (job, k), answer in zip(batch, answers, strict=True):
            job.answers[k] = answer
            job.seconds[stage] += share
        for index in dict.fromkeys(job.index for job, _ in batch):
            job = jobs[index]
            if not job.waiting and (sample := _advance(job, make, rejected)) is not None:
                yield _finished(jobs.pop(index), sample)


def _fullest(jobs: Iterable[_Job], batch_size: int) -> tuple[str, list[tuple[_Job, int]]]:
    """The stage that most requests wait for, and its first ones: (job, which of its requests)."""
    queues: dict[str, list[tuple[_Job, int]]] = {}
    for job in jobs:
        queues.setdefault(job.asked[0].stage, []).extend((job, k) for k in job.waiting)
    stage = max(queues, key=lambda name: len(queues[name]))
    return stage, queues[stage][:batch_size]


def _advance(job: _Job, make: MakeScript, rejected: Callable[[str], None]) -> Sample | None:
    """Hand a script its answers: its sample, or None where it asks for more or starts anew."""
    answers = [job.answers[k] for k in range(len(job.asked))]
    job.answers.clear()
    try:
        job.asked = job.script.send(answers)
    except StopIteration as end:
        sample: Sample = end.value
        return sample
    except Rejected as reason:
        rejected(str(reason))
        job.rejections.append(str(reason))
        job.attempt += 1
        if job.attempt == MOST_ATTEMPTS:
            counted = ", ".join(f"{what} {n}" for what, n in Counter(job.rejections).most_common())
            raise PopsError(
                f"sample {job.index} was rejected {MOST_ATTEMPTS} times ({counted}): the words do "
                "not fit the models; try other words or another preset"
            ) from reason
        job.script = make(job.index, job.attempt)
        job.asked = next(job.script)
    return None


def _finished(job: _Job, sample: Sample) -> Finished:
    seconds = {name: round(spent, 4) for name, spent in job.seconds.items()}
    return Finished(job.index, job.attempt, sample, tuple(job.rejections), seconds)


class Local:
    """Runs stages in this process; each is loaded once, when it is first asked."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._loaded: dict[str, Callable[[Sequence[Any]], Sequence[Any]]] = {}

    def __call__(self, stage: str, asked: Sequence[Request]) -> Sequence[Any]:
        if stage not in self._loaded:
            self._loaded[stage] = self._stages.loaders[stage]()
        return answer_all(stage, self._loaded[stage], asked)


def answer_all(
    stage: str, answer: Callable[[Sequence[Any]], Sequence[Any]], asked: Sequence[Request]
) -> list[Any]:
    """The answers of a stage; where a batch fails, each request alone, and again.

    Raises:
        PopsError: a request failed `MOST_TRIES` times; the last error is told.
    """
    try:
        return list(answer(asked))
    except PopsError:  # says what is wrong with the request: trying again would not help
        raise
    except Exception:  # memory, most often: smaller batches may pass
        return [_alone(stage, answer, request) for request in asked]


def _alone(stage: str, answer: Callable[[Sequence[Any]], Sequence[Any]], request: Request) -> Any:
    tried = 0
    while True:
        try:
            return answer([request])[0]
        except Exception as error:
            tried += 1
            if tried == MOST_TRIES:
                what = f"{type(error).__name__}: {error}"
                raise PopsError(f"stage {stage} failed {MOST_TRIES} times ({what})") from error
