"""Running many scripts at once, so that every stage works on full batches.

A script makes one request after another. The scheduler keeps a few batches of scripts going, and
always serves the stage that most requests wait for. A rejected sample is tried again at once, with
the random choices of its next attempt.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pops.datagen.sample import Rejected, Sample, Script
from pops.datagen.stages import Answer, StageRequest, Stages
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

MOST_ATTEMPTS = 50  # at a sample; after that, words and models do not fit each other
MOST_TRIES = 3  # at a request whose stage fails
BATCHES_AT_ONCE = 2  # batches of scripts that run at once

MakeScript = Callable[[int, int], Script]  # index, attempt -> script


@dataclass(frozen=True)
class Finished:
    """An accepted sample, with the rejections before it and the time that it took."""

    index: int
    attempt: int
    sample: Sample
    rejections: tuple[str, ...]
    seconds: dict[str, float]  # by stage: the sample's share of the batches that it was in


@dataclass
class _RunningScript:
    index: int
    script: Script
    attempt: int = 0
    asked: list[StageRequest] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)  # answers to the first of the requests
    rejections: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def start(self, script: Script) -> None:
        self.script = script
        self.ask(next(script))

    def ask(self, asked: list[StageRequest]) -> None:
        self.asked, self.answers = asked, []


_Pending = tuple[_RunningScript, int]  # a script, and the number of its request


def schedule(
    indices: Iterable[int],
    make: MakeScript,
    stages: Local,
    batch_size: int,
    rejected: Callable[[str], None] = lambda reason: None,
) -> Generator[Finished, None, None]:
    """Run the script of every index until its sample is accepted.

    Args:
        indices: The numbers of the samples.
        make: From the number of a sample and of an attempt to a script.
        stages: What answers the requests.
        batch_size: The most requests that a stage answers at once.
        rejected: Is told the reason of every rejection.

    Yields:
        The samples, in the order in which they finish.

    Raises:
        PopsError: A stage fails again and again, or a sample is rejected again and again.
    """
    left = iter(indices)
    running: dict[int, _RunningScript] = {}
    while True:
        for index in islice(left, batch_size * BATCHES_AT_ONCE - len(running)):
            running[index] = script = _RunningScript(index, make(index, 0))
            script.start(script.script)
        if not running:
            return
        stage, batch = _fullest(running.values(), batch_size)
        started = time.perf_counter()
        answers = stages.answer(stage, [script.asked[k] for script, k in batch])
        each = (time.perf_counter() - started) / len(batch)
        for (script, _), answer in zip(batch, answers, strict=True):
            script.answers.append(answer)
            script.seconds[stage] = script.seconds.get(stage, 0.0) + each
        for index in dict.fromkeys(script.index for script, _ in batch):
            script = running[index]
            if len(script.answers) == len(script.asked):
                sample = _advance(script, make, rejected)
                if sample is not None:
                    yield _finished(running.pop(index), sample)


def _fullest(running: Iterable[_RunningScript], batch_size: int) -> tuple[str, list[_Pending]]:
    """Find the stage that most requests wait for, and the first of these requests."""
    queues: dict[str, list[_Pending]] = {}
    for script in running:
        places = ((script, k) for k in range(len(script.answers), len(script.asked)))
        queues.setdefault(script.asked[0].stage, []).extend(places)
    stage = max(queues, key=lambda name: len(queues[name]))
    return stage, queues[stage][:batch_size]


def _advance(
    script: _RunningScript, make: MakeScript, rejected: Callable[[str], None]
) -> Sample | None:
    """Hand a script its answers; its sample, or None where it asks for more or starts anew."""
    try:
        script.ask(script.script.send(script.answers))
    except StopIteration as end:
        sample: Sample = end.value
        return sample
    except Rejected as reason:
        rejected(str(reason))
        script.rejections.append(str(reason))
        script.attempt += 1
        if script.attempt == MOST_ATTEMPTS:
            raise give_up(script.index, script.rejections) from reason
        script.start(make(script.index, script.attempt))
    return None


def give_up(index: int, rejections: Sequence[str]) -> PopsError:
    """Make the error of a sample that was rejected as often as may be.

    Args:
        index: The number of the sample.
        rejections: The reason of each rejection.

    Returns:
        The error.
    """
    counted = ", ".join(f"{what} {n}" for what, n in Counter(rejections).most_common())
    return PopsError(
        f"sample {index} was rejected {len(rejections)} times ({counted}), so that the words "
        "do not seem to fit the models: try other words or another preset"
    )


def _finished(script: _RunningScript, sample: Sample) -> Finished:
    seconds = {name: round(spent, 4) for name, spent in script.seconds.items()}
    return Finished(script.index, script.attempt, sample, tuple(script.rejections), seconds)


class Local:
    """The stages, in this process; each is loaded when it is first asked."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._loaded: dict[str, Answer] = {}

    def answer(self, stage: str, asked: Sequence[StageRequest]) -> Sequence[Any]:
        """Answer a batch of requests.

        Args:
            stage: The name of the stage.
            asked: Requests of this stage.

        Returns:
            The answers, in the same order.

        Raises:
            PopsError: A request failed several times; the last error is told.
        """
        if stage not in self._loaded:
            self._loaded[stage] = self._stages.loaders[stage]()
        return answer_all(stage, self._loaded[stage], asked)


def answer_all(stage: str, answer: Answer, asked: Sequence[StageRequest]) -> list[Any]:
    """Answer a batch of requests; where the batch fails, each request alone, and again.

    Raises:
        PopsError: A request failed `MOST_TRIES` times; the last error is told.
    """
    try:
        return list(answer(asked))
    except PopsError:  # the request itself is wrong, and trying again would not help
        raise
    except Exception:  # most often for lack of memory, so that smaller batches may pass
        return [_alone(stage, answer, request) for request in asked]


def _alone(stage: str, answer: Answer, request: StageRequest) -> Any:
    tried = 0
    while True:
        try:
            return answer([request])[0]
        except Exception as error:
            tried += 1
            if tried == MOST_TRIES:
                what = f"{type(error).__name__}: {error}"
                raise PopsError(
                    f"the stage {stage} failed {MOST_TRIES} times ({what}): add "
                    "--debug to see where"
                ) from error
