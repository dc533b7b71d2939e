"""Many scripts at once, so that every stage works on full batches.

A script asks for one thing after another; the scheduler keeps a few batches of scripts going and
always serves the stage that most requests wait for. A rejected sample is tried again at once, with
the randomness of its next attempt.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pops.datagen.sample import Rejected, Sample, Script
from pops.datagen.stages import Request, Stages
from pops.errors import PopsError

__all__ = [
    "BATCHES_AT_ONCE",
    "MOST_ATTEMPTS",
    "Finished",
    "Local",
    "MakeScript",
    "give_up",
    "schedule",
]

MOST_ATTEMPTS = 50  # at one sample: then words and stages do not fit each other
MOST_TRIES = 3  # of one request, where a stage fails
BATCHES_AT_ONCE = 2  # of scripts that are going

MakeScript = Callable[[int, int], Script]  # index, attempt -> script
Answer = Callable[[Sequence[Any]], Sequence[Any]]


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
    answers: list[Any] = field(default_factory=list)  # to the first of them
    rejections: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def start(self, script: Script) -> None:
        self.script = script
        self.ask(next(script))

    def ask(self, asked: list[Request]) -> None:
        self.asked, self.answers = asked, []


_Place = tuple[_Job, int]  # a job, and which of its requests


def schedule(
    indices: Iterable[int],
    make: MakeScript,
    stages: Local,
    batch_size: int,
    rejected: Callable[[str], None] = lambda reason: None,
) -> Generator[Finished, None, None]:
    """Run the script of every index until it is accepted; in the order in which they finish.

    Raises:
        PopsError: a stage fails again and again, or a sample is rejected again and again.
    """
    left = iter(indices)
    jobs: dict[int, _Job] = {}
    while True:
        for index in islice(left, batch_size * BATCHES_AT_ONCE - len(jobs)):
            jobs[index] = job = _Job(index, make(index, 0))
            job.start(job.script)
        if not jobs:
            return
        stage, batch = _fullest(jobs.values(), batch_size)
        started = time.perf_counter()
        answers = stages.answer(stage, [job.asked[k] for job, k in batch])
        each = (time.perf_counter() - started) / len(batch)
        for (job, _), answer in zip(batch, answers, strict=True):
            job.answers.append(answer)
            job.seconds[stage] = job.seconds.get(stage, 0.0) + each
        for index in dict.fromkeys(job.index for job, _ in batch):
            job = jobs[index]
            if len(job.answers) == len(job.asked):
                sample = _advance(job, make, rejected)
                if sample is not None:
                    yield _finished(jobs.pop(index), sample)


def _fullest(jobs: Iterable[_Job], batch_size: int) -> tuple[str, list[_Place]]:
    """The stage that most requests wait for, and the first of them."""
    queues: dict[str, list[_Place]] = {}
    for job in jobs:
        places = ((job, k) for k in range(len(job.answers), len(job.asked)))
        queues.setdefault(job.asked[0].stage, []).extend(places)
    stage = max(queues, key=lambda name: len(queues[name]))
    return stage, queues[stage][:batch_size]


def _advance(job: _Job, make: MakeScript, rejected: Callable[[str], None]) -> Sample | None:
    """Hand a script its answers: its sample, or None where it asks for more or starts anew."""
    try:
        job.ask(job.script.send(job.answers))
    except StopIteration as end:
        sample: Sample = end.value
        return sample
    except Rejected as reason:
        rejected(str(reason))
        job.rejections.append(str(reason))
        job.attempt += 1
        if job.attempt == MOST_ATTEMPTS:
            raise give_up(job.index, job.rejections) from reason
        job.start(make(job.index, job.attempt))
    return None


def give_up(index: int, rejections: Sequence[str]) -> PopsError:
    """The error of a sample that was rejected as often as may be."""
    counted = ", ".join(f"{what} {n}" for what, n in Counter(rejections).most_common())
    return PopsError(
        f"sample {index} was rejected {len(rejections)} times ({counted}): the words do not fit "
        "the models; try other words or another preset"
    )


def _finished(job: _Job, sample: Sample) -> Finished:
    seconds = {name: round(spent, 4) for name, spent in job.seconds.items()}
    return Finished(job.index, job.attempt, sample, tuple(job.rejections), seconds)


class Local:
    """Stages in this process; each is loaded when it is first asked."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._loaded: dict[str, Answer] = {}

    def answer(self, stage: str, asked: Sequence[Request]) -> Sequence[Any]:
        """The answers of a stage to one batch."""
        if stage not in self._loaded:
            self._loaded[stage] = self._stages.loaders[stage]()
        return answer_all(stage, self._loaded[stage], asked)


def answer_all(stage: str, answer: Answer, asked: Sequence[Request]) -> list[Any]:
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


def _alone(stage: str, answer: Answer, request: Request) -> Any:
    tried = 0
    while True:
        try:
            return answer([request])[0]
        except Exception as error:
            tried += 1
            if tried == MOST_TRIES:
                what = f"{type(error).__name__}: {error}"
                raise PopsError(f"stage {stage} failed {MOST_TRIES} times ({what})") from error
