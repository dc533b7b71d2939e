"""Stages on a Ray cluster: a pool of actors for each, so that a GPU holds one model.

The scripts stay in the process that was started, which also writes; pictures travel to the actors
and back. When a node dies, Ray starts its actors elsewhere and gives them their batches again, so
that every sample is delivered once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from pops.datagen.config import GenerateConfig
from pops.datagen.stages import Request
from pops.errors import PopsError, UsageError

__all__ = ["RayRunner"]

BATCHES_AHEAD = 2  # for each actor: one that runs, one that waits
MOST_SENDINGS = 10  # of a batch that is lost with the node it was on


_Place = tuple[str, int]  # a stage, and which of its actors


@dataclass(frozen=True)
class _Batch:
    ticket: int
    place: _Place
    asked: list[Request]
    sent: int = 1


class RayRunner:
    """Runs batches on pools of actors."""

    def __init__(
        self, config: GenerateConfig, stages: Sequence[str], options: dict[str, Any] | None = None
    ) -> None:
        """`options`: of every actor, for Ray; None: a GPU each where the cluster has any.

        Raises:
            UsageError: Ray is not installed, or there is no cluster at the address.
        """
        self._ray = _connected(config.ray_address)
        if options is None:
            options = {"num_gpus": 1} if self._ray.cluster_resources().get("GPU") else {}
        actor = self._ray.remote(_StageActor).options(
            max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD", **options
        )
        self.actors = {
            stage: [actor.remote(config, stage) for _ in range(config.actors)] for stage in stages
        }
        self.at_once = config.actors * len(stages)
        self._load: Counter[_Place] = Counter()
        self._running: dict[Any, _Batch] = {}
        self._tickets = count()

    def has_room(self, stage: str) -> bool:
        return self._load[self._idlest(stage)] < BATCHES_AHEAD

    def submit(self, stage: str, asked: Sequence[Request]) -> int:
        ticket = next(self._tickets)
        self._send(_Batch(ticket, self._idlest(stage), list(asked)))
        return ticket

    def next(self) -> tuple[int, Sequence[Any], float]:
        """Raises PopsError where a stage fails, or a batch is lost, again and again."""
        while True:
            (done, *_), _ = self._ray.wait(list(self._running), num_returns=1)
            batch = self._running.pop(done)
            self._load[batch.place] -= 1
            try:
                answers, seconds = self._ray.get(done)
                return batch.ticket, answers, seconds
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise cause if isinstance(cause, PopsError) else PopsError(str(cause)) from None
            except self._ray.exceptions.RayError as error:  # with a node, and what was on it
                if batch.sent == MOST_SENDINGS:
                    raise PopsError(
                        f"{batch.place[0]}: lost {batch.sent} times ({error})"
                    ) from error
                self._send(replace(batch, place=self._idlest(batch.place[0]), sent=batch.sent + 1))

    def _send(self, batch: _Batch) -> None:
        stage, number = batch.place
        reference = self.actors[stage][number].answer.remote(batch.asked)
        self._running[reference] = batch
        self._load[batch.place] += 1

    def close(self) -> None:
        """End the actors; the cluster stays."""
        for pool in self.actors.values():
            for actor in pool:
                self._ray.kill(actor)

    def _idlest(self, stage: str) -> _Place:
        places: list[_Place] = [(stage, i) for i in range(len(self.actors[stage]))]
        return min(places, key=lambda place: self._load[place])


def _connected(address: str | None) -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'pops[cluster]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise UsageError(
                f"--ray_address: there is no cluster at {address}: start one with `ray start`"
            ) from error
    return ray


class _StageActor:
    """One stage of a preset, in a process of its own."""

    def __init__(self, config: GenerateConfig, stage: str) -> None:
        self.config = config
        self.stage = stage
        self.runner: Any = None

    def answer(self, asked: Sequence[Request]) -> tuple[Sequence[Any], float]:
        """The answers, and the seconds they took."""
        from pops.datagen.presets import load_preset
        from pops.datagen.scheduler import Local

        started = time.perf_counter()
        if self.runner is None:
            self.runner = Local(load_preset(self.config).stages)
        return self.runner.answer(self.stage, asked), time.perf_counter() - started

    def node(self) -> str:
        """Which node it is on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())
