"""Running scripts on a Ray cluster: a Ray Data pipeline with a pool of actors for each stage.

Attempts at samples go through the stages, and carry the answers that they got so far. A script is a
function of its seed and of these answers; so each stage runs the script from its beginning with
them, and finds out what it asks next. Ray Data keeps the pools busy, and makes anew what is lost
with a node.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

import numpy as np

from pops.datagen.engines.local import (
    BATCHES_AT_ONCE,
    MOST_ATTEMPTS,
    Finished,
    Local,
    MakeScript,
    give_up,
)
from pops.datagen.sample import Rejected, Sample, play
from pops.datagen.stages import Stages
from pops.errors import PopsError, UsageError, install_hint

__all__ = ["ClusterSettings", "make_on_cluster"]

LITTLE_CPU = 0.05  # share of a core kept for an actor, so that all fit when nodes die


class ClusterSettings(Protocol):
    """The settings of a command whose scripts run on a cluster; every process gets a copy."""

    @property
    def batch_size(self) -> int:
        """The most requests that a stage answers at once."""

    @property
    def actors(self) -> int:
        """The number of processes of each stage."""

    @property
    def ray_address(self) -> str | None:
        """The address of a running cluster; None to start one on this machine."""

    def load_stages(self) -> Stages:
        """Find the stages; none of their models is loaded yet.

        Returns:
            The stages.
        """


@dataclass
class _Attempt:
    """An attempt at a sample, on its way through the stages."""

    index: int
    number: int
    answers: list[list[Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    result: Sample | Rejected | PopsError | None = None


_Batch = dict[str, np.ndarray]  # one column: attempts, pickled


@dataclass
class _Trials:
    """The attempts at one sample that are known so far; they arrive in any order."""

    rejections: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    later: dict[int, _Attempt] = field(default_factory=dict)  # attempts that wait for earlier ones

    def add(self, attempt: _Attempt, rejected: Callable[[str], None]) -> Finished | None:
        """Add an attempt; the sample, once one is accepted and all before it are rejected."""
        self.later[attempt.number] = attempt
        while (first := self.later.pop(len(self.rejections), None)) is not None:
            for stage, spent in first.seconds.items():
                self.seconds[stage] = round(self.seconds.get(stage, 0.0) + spent, 4)
            if isinstance(first.result, Sample):
                reasons = tuple(self.rejections)
                return Finished(first.index, first.number, first.result, reasons, self.seconds)
            rejected(str(first.result))
            self.rejections.append(str(first.result))
        return None


def make_on_cluster(
    indices: Sequence[int],
    make: MakeScript,
    stages: Sequence[str],
    config: ClusterSettings,
    rejected: Callable[[str], None] = lambda reason: None,
) -> Generator[Finished, None, None]:
    """Run the script of every index until its sample is accepted.

    Samples of which every attempt was rejected go through a pipeline again, with as many attempts
    at a time as there were before: so few pipelines are started. The first accepted attempt counts.

    Args:
        indices: The numbers of the samples.
        make: From the number of a sample and of an attempt to a script.
        stages: The names of the stages that the scripts ask, in order.
        config: The settings of the command.
        rejected: Is told the reason of every rejection.

    Yields:
        The samples, in the order in which they finish.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
        PopsError: A stage fails again and again, or a sample is rejected again and again.
    """
    left = {index: _Trials() for index in indices}
    tried = 0
    with _connected(config.ray_address) as ray:
        while left:
            if tried == MOST_ATTEMPTS:
                index, trials = next(iter(left.items()))
                raise give_up(index, trials.rejections)
            until = min(MOST_ATTEMPTS, max(1, 2 * tried))
            attempts = [_Attempt(index, n) for index in left for n in range(tried, until)]
            for attempt in _run(ray, attempts, make, stages, config):
                if attempt.index not in left:  # an earlier attempt was accepted
                    continue
                if finished := left[attempt.index].add(attempt, rejected):
                    del left[attempt.index]
                    yield finished
            tried = until


def _run(
    ray: Any,
    attempts: Sequence[_Attempt],
    make: MakeScript,
    stages: Sequence[str],
    config: ClusterSettings,
) -> Iterator[_Attempt]:
    """Run attempts through a pipeline; give them with their results, as they arrive."""
    rows = [{"attempt": pickle.dumps(attempt)} for attempt in attempts]
    at_once = config.batch_size * BATCHES_AT_ONCE  # a stage may be quicker with more than asked
    blocks = ceil(len(rows) / at_once)
    data = ray.data.from_items(rows, override_num_blocks=blocks)
    for stage in stages:
        data = data.map_batches(
            _Stage,
            fn_constructor_args=(stage, make, config),
            batch_size=at_once,
            concurrency=config.actors,
            num_cpus=LITTLE_CPU,
            num_gpus=_gpus(ray, config.actors * len(stages)),
        )
    data = data.map_batches(
        _Files,
        fn_constructor_args=(make,),
        batch_size=at_once,
        concurrency=config.actors,
        num_cpus=LITTLE_CPU,
    )
    try:
        for batch in data.iter_batches(batch_size=None):
            for attempt in _unpacked(batch):
                if isinstance(attempt.result, PopsError):
                    raise attempt.result
                yield attempt
    except ray.exceptions.RayError as error:
        raise PopsError(f"the cluster failed: {' '.join(str(error).split())[-300:]}") from error


def _gpus(ray: Any, actors: int) -> float:
    """Share GPUs among actors: one for each where there are enough, 0 where there are none."""
    there = int(ray.cluster_resources().get("GPU", 0))
    return 1 / ceil(actors / there) if there else 0


class _Stage:
    """A stage of a preset, in a process of its own."""

    def __init__(self, stage: str, make: MakeScript, config: ClusterSettings) -> None:
        self.stage = stage
        self.make = make
        self.batch_size = config.batch_size
        self.runner = Local(config.load_stages())

    def __call__(self, batch: _Batch) -> _Batch:
        """Add the answers of this stage to attempts; those that are rejected get none."""
        attempts = _unpacked(batch)
        try:
            self._answer(attempts)
        except PopsError as error:  # raised again by the process that the user started
            for attempt in attempts:
                attempt.answers, attempt.result = [], error
        return _packed(attempts)

    def _answer(self, attempts: Sequence[_Attempt]) -> None:
        asked = [_asked(attempt, self.make, self.stage) for attempt in attempts]
        requests = [request for of_one in asked for request in of_one]
        started = time.perf_counter()
        answers: list[Any] = []
        for i in range(0, len(requests), self.batch_size):
            answers += self.runner.answer(self.stage, requests[i : i + self.batch_size])
        each = (time.perf_counter() - started) / max(1, len(requests))
        left = iter(answers)
        for attempt, of_one in zip(attempts, asked, strict=True):
            if of_one:
                attempt.answers.append([next(left) for _ in of_one])
                attempt.seconds[self.stage] = round(each * len(of_one), 4)


def _asked(attempt: _Attempt, make: MakeScript, stage: str) -> list[Any]:
    """Find out what the script of an attempt asks a stage next.

    Nothing where it was rejected, or has no need of this stage.
    """
    if attempt.result is None:
        try:
            played = play(make(attempt.index, attempt.number), attempt.answers)
            if isinstance(played, list) and played[0].stage == stage:
                return played
        except Rejected as reason:
            attempt.answers, attempt.result = [], reason
    return []


class _Files:
    """Encodes the files of samples, while the stages go on."""

    def __init__(self, make: MakeScript) -> None:
        self.make = make

    def __call__(self, batch: _Batch) -> _Batch:
        """Replace the answers of attempts by their samples."""
        attempts = _unpacked(batch)
        for attempt in attempts:
            if attempt.result is None:
                attempt.result = self._result(attempt)
                attempt.answers = []
        return _packed(attempts)

    def _result(self, attempt: _Attempt) -> Sample | Rejected:
        try:
            sample = play(self.make(attempt.index, attempt.number), attempt.answers)
        except Rejected as reason:
            return reason
        assert isinstance(sample, Sample), "a script ends with the last of its stages"
        return sample.encoded()


def _packed(attempts: Sequence[_Attempt]) -> _Batch:
    return {"attempt": np.array([pickle.dumps(attempt) for attempt in attempts], dtype=object)}


def _unpacked(batch: _Batch) -> list[_Attempt]:
    return [pickle.loads(attempt) for attempt in batch["attempt"]]


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Connect to a cluster that is there, or start one on this machine for the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics leave the machine
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"--engine ray needs Ray Data: {install_hint('cluster')}") from error
    if own := not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise UsageError(
                f"--ray_address: there is no cluster at {address}: start one with `ray start`"
            ) from error
    _quieten(ray)
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def _quieten(ray: Any) -> None:
    """Silence Ray Data: the run has a progress bar of its own."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
