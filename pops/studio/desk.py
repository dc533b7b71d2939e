"""The desk: one bounded queue of jobs, and one worker that does them in turn.

Only the worker touches the models, so that a device is never asked for two things at once. A job
tells of itself as it goes, and whoever follows it hears; when nobody does any more it is cancelled,
which its next sign of life turns into an end.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from threading import Condition, Lock, Thread
from typing import Any

from pops.errors import PopsError, UsageError

__all__ = ["Busy", "Cancelled", "Desk", "Event", "Job", "Work"]

Event = dict[str, Any]
PULSE = 0.05  # seconds between looks at a job by its follower
WAITING_PULSE = 1.0  # seconds between signs that a job still waits


class Cancelled(Exception):
    """Raised inside a job that nobody waits for any more."""


class Busy(UsageError):
    """As many jobs are waiting as may."""


class Job:
    """One request: what it has told so far, and whether it is to go on."""

    def __init__(self, work: Work, desk: Desk) -> None:
        self.work = work
        self.desk = desk
        self.error: str | None = None
        self.ended = False
        self._cancelled = False
        self._events: deque[Event] = deque()
        self._progress: Event | None = None
        self._lock = Lock()

    def tell(self, event: Event) -> None:
        """A result, or anything else that must reach the follower. Raises Cancelled."""
        self._check()
        with self._lock:
            self._events.append(event)
            self._progress = None

    def progress(self, what: str, done: int, total: int) -> None:
        """How far the job is, as the engine tells it; only the last word counts.

        Raises Cancelled, out of whatever the engine is doing.
        """
        self._check()
        with self._lock:
            self._progress = {"state": "working", "what": what, "done": done, "total": total}

    def cancel(self) -> None:
        self._cancelled = True
        self.desk.drop(self)

    def run(self) -> None:
        """Do the work, in the worker. Whatever goes wrong becomes `error`, one friendly line."""
        try:
            self._check()
            self.work(self)
        except Cancelled:
            self.error = "cancelled"
        except PopsError as error:
            self.error = str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.error = f"something went wrong here ({type(error).__name__}): the log tells more"
        finally:
            self.ended = True

    async def follow(self) -> AsyncIterator[Event]:
        """What the job tells, until it has ended. Stopping to listen cancels it.

        Raises:
            PopsError: the job failed; the message is its `error`.
        """
        told: int | None = None
        quiet = 0.0
        try:
            while not self.ended:
                ahead = self.desk.ahead(self)
                if ahead is not None and (ahead != told or quiet >= WAITING_PULSE):
                    told, quiet = ahead, 0.0
                    yield {"state": "waiting", "ahead": ahead}
                for event in self._news():
                    quiet = 0.0
                    yield event
                await asyncio.sleep(PULSE)
                quiet += PULSE
            for event in self._news():
                yield event
        finally:
            self.cancel()
        if self.error is not None:
            raise PopsError(self.error)

    def _news(self) -> list[Event]:
        with self._lock:
            news = [*self._events, *([self._progress] if self._progress else [])]
            self._events.clear()
            self._progress = None
        return news

    def _check(self) -> None:
        if self._cancelled:
            raise Cancelled


Work = Callable[[Job], None]


class Desk:
    """Takes jobs, up to `most_waiting` beside the one at work, and does them in turn."""

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._open = True
        self._worker = Thread(target=self._serve, name="studio-worker", daemon=True)
        self._worker.start()

    def submit(self, work: Work) -> Job:
        """A job that will do `work`. Raises Busy if too many wait already."""
        job = Job(work, self)
        with self._changed:
            if len(self._waiting) >= self.most_waiting:
                raise Busy(
                    f"the studio is busy: {len(self._waiting)} are waiting already; "
                    "try again in a minute"
                )
            self._waiting.append(job)
            self._changed.notify()
        return job

    def ahead(self, job: Job) -> int | None:
        """How many jobs come before this one, the one at work counted; None once it is at work."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else None

    def drop(self, job: Job) -> None:
        """Take a job out of the queue, if it waits there."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.error, job.ended = "cancelled", True

    def close(self) -> None:
        """Take no more jobs, and stop when the one at work is done."""
        with self._changed:
            self._open = False
            self._waiting.clear()
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                job = self._waiting.popleft()
            job.run()
