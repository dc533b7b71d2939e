"""One bounded queue of jobs, and one worker thread that does them in turn.

Only the worker touches the models, so that a device is never asked for two things at once. Clients
take turns: who asks for much does not keep the others waiting. A job tells of itself as it goes,
and whoever follows it hears; when nobody does any more it is cancelled, which its next sign of life
turns into an end.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from threading import Condition, Lock, Thread
from typing import Any

from pops.errors import PopsError, UsageError

__all__ = ["Busy", "Cancelled", "JobQueue", "Event", "Job", "Work"]

Event = dict[str, Any]
PULSE = 0.05  # seconds between looks at a job by its follower
WAITING_PULSE = 0.2  # the same, of a job that is not yet at work
WAITING_SIGN = 1.0  # seconds between signs that a job still waits
ON_THE_WAY = 10.0  # seconds for which a place is kept for a job that was announced


class Cancelled(Exception):
    """Raised inside a job that nobody waits for any more."""


class Busy(UsageError):
    """As many jobs are waiting as may."""


class Job:
    """One request of a client: what it has told so far, and whether it is to go on."""

    def __init__(self, work: Work, queue: JobQueue, client: str) -> None:
        self.work = work
        self.queue = queue
        self.client = client
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
        self.queue.drop(self)

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
                ahead = self.queue.ahead(self)
                if ahead is not None and (ahead != told or quiet >= WAITING_SIGN):
                    told, quiet = ahead, 0.0
                    yield {"state": "waiting", "ahead": ahead}
                for event in self._news():
                    quiet = 0.0
                    yield event
                pulse = PULSE if ahead is None else WAITING_PULSE
                await asyncio.sleep(pulse)
                quiet += pulse
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


class JobQueue:
    """Takes jobs, up to `most_waiting` beside the one at work, and does them in turn.

    The turns go round over the clients who wait: each has one job done before any has another, and
    one's own are done in order. One client holds at most half of the places.
    """

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self.most_of_one = (most_waiting + 1) // 2
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()  # by client, whose turn is first
        self._coming: deque[tuple[float, str]] = deque()  # until when a place is kept, for whom
        self._at_work: Job | None = None
        self._changed = Condition()
        self._open = True
        self._worker = Thread(target=self._serve, name="studio-worker", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(map(len, self._lines.values()))

    def announce(self, client: str = "") -> None:
        """Keep a place for a job that is on its way, until it `arrives`. Raises Busy."""
        with self._changed:
            now = time.monotonic()
            while self._coming and self._coming[0][0] < now:
                self._coming.popleft()
            own = sum(who == client for _, who in self._coming)
            self._check_room(client, len(self._coming), own)
            self._coming.append((now + ON_THE_WAY, client))

    def arrives(self, client: str = "") -> None:
        """A job that was announced is here, and will be submitted or not."""
        with self._changed:
            kept = next((one for one in self._coming if one[1] == client), None)
            if kept is not None:
                self._coming.remove(kept)

    def submit(self, work: Work, client: str = "") -> Job:
        """A job that will do `work` for `client`. Raises Busy if too many wait already."""
        job = Job(work, self, client)
        with self._changed:
            self._check_room(client)
            self._lines.setdefault(client, deque()).append(job)
            self._changed.notify()
        return job

    def ahead(self, job: Job) -> int | None:
        """How many jobs come before this one, the one at work counted; None once it is at work.

        A job that another client submits meanwhile may come before one's second.
        """
        with self._changed:
            line = self._lines.get(job.client, ())
            if job not in line:
                return None
            place = line.index(job)  # so many rounds are over before its own
            before, rounds = 0, place + 1
            for client, others in self._lines.items():
                if client == job.client:
                    rounds = place
                before += min(len(others), rounds)
            return before + (self._at_work is not None)

    def drop(self, job: Job) -> None:
        """Take a job out of the queue, if it waits there."""
        with self._changed:
            line = self._lines.get(job.client)
            if line and job in line:
                line.remove(job)
                if not line:
                    del self._lines[job.client]
                job.error, job.ended = "cancelled", True

    def close(self) -> None:
        """Take no more jobs, and stop when the one at work is done."""
        with self._changed:
            self._open = False
            self._lines.clear()
            self._changed.notify()

    def _check_room(self, client: str, coming: int = 0, own: int = 0) -> None:
        """Busy if there is no place. `coming`, `own`: jobs on their way, all and the client's."""
        taken, held = self.waiting + coming, len(self._lines.get(client, ())) + own
        if taken >= self.most_waiting:
            raise Busy(f"the studio is busy: {taken} jobs wait already; try again in a minute")
        if held >= self.most_of_one:
            raise Busy(f"the studio is busy: {held} of your jobs wait already")

    def _next(self) -> Job:
        """The first job of the client whose turn it is, who then is the last to have another."""
        client, line = self._lines.popitem(last=False)
        job = line.popleft()
        if line:
            self._lines[client] = line
        return job

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._at_work = None
                self._changed.wait_for(lambda: self._lines or not self._open)
                if not self._open:
                    return
                self._at_work = job = self._next()
            job.run()
            del job  # or all that it holds stays until there is another
