"""A job: what the worker does for a client, and what the client is told of it meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from pops.errors import PopsError

if TYPE_CHECKING:
    from pops.studio.jobs.queue import JobQueue

__all__ = ["OWN", "Cancelled", "Client", "Event", "Job", "Work", "telling_warnings"]

Event = dict[str, Any]
PULSE = 0.05  # seconds between looks at a job by its follower
WAITING_PULSE = 0.2  # the same, of a job that is not yet at work
WAITING_SIGN = 1.0  # seconds between signs that a job still waits

WATCHED = ("pops.stacks", "pops.render")  # the loggers whose warnings a client is told of

logger = logging.getLogger(__name__)


class Client(NamedTuple):
    """Who sends jobs: an address, and the name that those who share it tell themselves apart by."""

    address: str = ""
    name: str = ""


OWN = Client()  # the studio itself


class Cancelled(Exception):
    """Raised inside a job that nobody waits for any more."""


class Job:
    """One piece of work for a client, with what it has told so far.

    Args:
        work: What the worker does; it is given this job, to tell of its progress and results.
        queue: Where the job waits.
        client: Whose job it is.
    """

    def __init__(self, work: Work, queue: JobQueue, client: Client) -> None:
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
        """Tell the follower something that must reach it, such as a result.

        Args:
            event: What is told, as JSON.

        Raises:
            Cancelled: Nobody waits for the job any more.
        """
        self._check()
        with self._lock:
            self._events.append(event)
            self._progress = None

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell how far the job is; only the last word reaches the follower.

        Args:
            what: The part of the work, as the engine calls it.
            done: The steps that are done.
            total: The steps that there are.

        Raises:
            Cancelled: Nobody waits for the job any more. It ends whatever the engine is doing.
        """
        self._check()
        with self._lock:
            self._progress = {"state": "working", "what": what, "done": done, "total": total}

    def cancel(self) -> None:
        """End the job: at once if it waits, else when it next tells something."""
        self._cancelled = True
        self.queue.drop(self)

    def end(self, error: str | None = None) -> None:
        """Mark the job as over.

        Args:
            error: One line for the follower; None if all went well.
        """
        self.error, self.ended = error, True

    def run(self) -> None:
        """Do the work, in the worker. Whatever goes wrong becomes `error`, one line."""
        error: str | None = None
        try:
            self._check()
            with telling_warnings(self.tell):
                self.work(self)
        except Cancelled:
            error = "cancelled"
        except PopsError as fault:
            error = str(fault.at(None))
        except Exception as fault:
            logger.exception("a job of the studio failed")
            error = f"something went wrong here ({type(fault).__name__}): the log tells more"
        finally:
            self.end(error)

    async def follow(self) -> AsyncIterator[Event]:
        """Listen to the job until it has ended. To stop listening cancels it.

        Yields:
            What the job tells.

        Raises:
            PopsError: The job failed; the message is its `error`.
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


class _Warnings(logging.Handler):
    """Tells what the engine warns of in the thread that it was made in."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        super().__init__(logging.WARNING)
        self.tell, self.thread = tell, get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.tell({"state": "warning", "warning": record.getMessage()})


@contextmanager
def telling_warnings(tell: Callable[[Event], None]) -> Iterator[None]:
    """Tell a follower what the engine warns of inside the block, such as words it does not know.

    Args:
        tell: is given an event with the line.

    Yields:
        Nothing.
    """
    handler = _Warnings(tell)
    watched = [logging.getLogger(name) for name in WATCHED]
    for one in watched:
        one.addHandler(handler)
    try:
        yield
    finally:
        for one in watched:
            one.removeHandler(handler)


Work = Callable[[Job], None]
