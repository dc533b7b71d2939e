"""One bounded queue of jobs, and one worker thread that does them in turn.

Only the worker touches the models, so that a device is never asked for two things at once. Clients
take turns: who asks for much does not keep the others waiting. Nobody can fill the queue: one
client holds at most half of the places, and one address, whatever its clients call themselves,
never all of them.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from threading import Condition, Thread

from pops.errors import UsageError
from pops.studio.jobs.job import OWN, Client, Job, Work

__all__ = ["Busy", "JobQueue"]

ON_THE_WAY = 10.0  # seconds for which a place is kept for a job that was announced
KEPT_FREE = 8  # one place in so many is never held by an address that holds all others


class Busy(UsageError):
    """As many jobs are waiting as may."""


class JobQueue:
    """Takes jobs and does them one at a time, in a thread of its own.

    The turns go round over the clients who wait: each has one job done before any has another, and
    one's own are done in order.

    Args:
        most_waiting: The jobs that may wait beside the one at work.
    """

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self.most_of_client = (most_waiting + 1) // 2
        self.most_of_address = max(1, most_waiting - max(1, most_waiting // KEPT_FREE))
        self._lines: OrderedDict[Client, deque[Job]] = OrderedDict()  # in the order of their turns
        self._coming: deque[tuple[float, Client]] = deque()  # until when a place is kept, for whom
        self._at_work: Job | None = None
        self._changed = Condition()
        self._open = True
        self._worker = Thread(target=self._serve, name="studio-worker", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """The number of jobs that wait."""
        return sum(map(len, self._lines.values()))

    def announce(self, client: Client) -> None:
        """Keep a place for a job that is on its way, until it `arrives`.

        Args:
            client: Whose job it is.

        Raises:
            Busy: Too many jobs wait already.
        """
        with self._changed:
            now = time.monotonic()
            while self._coming and self._coming[0][0] < now:
                self._coming.popleft()
            self._check_room(client, [one for _, one in self._coming])
            self._coming.append((now + ON_THE_WAY, client))

    def arrives(self, client: Client) -> None:
        """Give up the place of a job that was announced: it is here, to be submitted or not.

        Args:
            client: Whose job it is.
        """
        with self._changed:
            kept = next((one for one in self._coming if one[1] == client), None)
            if kept is not None:
                self._coming.remove(kept)

    def submit(self, work: Work, client: Client = OWN) -> Job:
        """Queue a job.

        Args:
            work: What the worker does.
            client: Whose job it is; the studio's own if left out.

        Returns:
            The job, to be followed or cancelled.

        Raises:
            Busy: Too many jobs wait already.
        """
        job = Job(work, self, client)
        with self._changed:
            self._check_room(client)
            self._lines.setdefault(client, deque()).append(job)
            self._changed.notify()
        return job

    def ahead(self, job: Job) -> int | None:
        """Count the jobs that come before one.

        A job that another client submits meanwhile may come before one's second.

        Args:
            job: A job that waits, is at work or has ended.

        Returns:
            Their number, the job at work counted; None once the job is at work itself.
        """
        with self._changed:
            line = self._lines.get(job.client, ())
            if job not in line:
                return None
            place = line.index(job)  # this many jobs of its own client come before it
            before, rounds = 0, place + 1
            for client, others in self._lines.items():
                if client == job.client:
                    rounds = place
                before += min(len(others), rounds)
            return before + (self._at_work is not None)

    def drop(self, job: Job) -> None:
        """Take a job out of the queue, if it waits there.

        Args:
            job: The job, which is over then.
        """
        with self._changed:
            line = self._lines.get(job.client)
            if line and job in line:
                line.remove(job)
                if not line:
                    del self._lines[job.client]
                job.end("cancelled")

    def close(self) -> None:
        """Take no more jobs, and stop when the one at work is done."""
        with self._changed:
            self._open = False
            for job in (job for line in self._lines.values() for job in line):
                job.end("the studio is closing")
            self._lines.clear()
            self._changed.notify()

    def _check_room(self, client: Client, coming: list[Client] | None = None) -> None:
        """Raise Busy if there is no place. `coming`: whose jobs are on their way."""
        coming = coming or []
        taken = self.waiting + len(coming)
        if taken >= self.most_waiting:
            raise Busy(
                f"the studio is busy, since {taken} jobs wait already: try again in a minute"
            )
        own = len(self._lines.get(client, ())) + coming.count(client)
        if own >= self.most_of_client:
            raise Busy(f"the studio is busy, since {own} of your jobs wait already: wait for one")
        lines = self._lines.items()
        shared = sum(len(line) for one, line in lines if one.address == client.address)
        shared += sum(one.address == client.address for one in coming)
        if shared >= self.most_of_address:
            raise Busy(
                f"the studio is busy, since {shared} jobs from your address wait already: wait "
                "for one"
            )

    def _next(self) -> Job:
        """Take the first job of the client whose turn it is; its next turn is the last."""
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
            del job  # otherwise all that it holds stays in memory until the next job
