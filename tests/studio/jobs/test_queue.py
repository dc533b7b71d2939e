"""The studio's queue: one bounded queue, one worker, and jobs that can be left."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.errors import InputError, PopsError
from pops.studio.jobs.job import Client, Event, Job
from pops.studio.jobs.queue import Busy, JobQueue

ANOTHER = Client("10.0.0.99")


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(most_waiting=6)
    yield queue
    queue.close()


async def _all(job: Job) -> list[Event]:
    return [event async for event in job.follow()]


def _held(queue: JobQueue) -> tuple[Job, threading.Event]:
    """A job at work until the event is set."""
    started, go = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        started.set()
        go.wait(10)

    job = queue.submit(work)
    assert started.wait(10)
    return job, go


def test_a_job_tells_all_its_results_and_the_last_word_of_its_progress(queue: JobQueue) -> None:
    def work(job: Job) -> None:
        job.tell({"state": "result", "n": 1})
        for step in range(100):
            job.progress("drawing", step, 100)
        job.tell({"state": "done"})

    events = asyncio.run(_all(queue.submit(work)))
    assert [e for e in events if e["state"] == "result"] == [{"state": "result", "n": 1}]
    assert events[-1] == {"state": "done"}
    assert len(events) < 10


def test_jobs_are_done_one_at_a_time_and_in_order(queue: JobQueue) -> None:
    at_work, done = [], []

    def job_of(number: int):
        def work(job: Job) -> None:
            at_work.append(number)
            time.sleep(0.01)
            assert at_work == [number]
            at_work.remove(number)
            done.append(number)

        return work

    jobs = [queue.submit(job_of(number)) for number in range(3)]

    async def follow_all() -> None:
        await asyncio.gather(*map(_all, jobs))

    asyncio.run(follow_all())
    assert done == [0, 1, 2]


def test_a_full_queue_refuses_politely(queue: JobQueue) -> None:
    _, go = _held(queue)
    for number in range(6):
        queue.submit(lambda job: None, Client(f"10.0.0.{number}"))
    with pytest.raises(Busy, match="6 jobs wait already: try again"):
        queue.submit(lambda job: None, ANOTHER)
    with pytest.raises(Busy, match="6 jobs wait already: try again"):
        queue.announce(ANOTHER)
    go.set()


def test_one_client_cannot_hold_all_places(queue: JobQueue) -> None:
    _, go = _held(queue)
    for _ in range(3):
        queue.submit(lambda job: None, Client("10.0.0.1", "greedy"))
    with pytest.raises(Busy, match="3 of your jobs wait already"):
        queue.submit(lambda job: None, Client("10.0.0.1", "greedy"))
    queue.submit(lambda job: None, Client("10.0.0.1", "another"))
    go.set()


def test_one_address_cannot_hold_all_places_by_any_number_of_names(queue: JobQueue) -> None:
    _, go = _held(queue)
    queue.announce(Client("10.0.0.1", "on its way"))
    for number in range(4):
        queue.submit(lambda job: None, Client("10.0.0.1", f"made up {number}"))
    with pytest.raises(Busy, match="5 jobs from your address wait already"):
        queue.announce(Client("10.0.0.1", "made up 5"))
    queue.arrives(Client("10.0.0.1", "on its way"))
    queue.submit(lambda job: None, Client("10.0.0.1", "on its way"))
    with pytest.raises(Busy, match="5 jobs from your address wait already"):
        queue.submit(lambda job: None, Client("10.0.0.1", "made up 6"))
    queue.submit(lambda job: None, Client("10.0.0.2"))
    go.set()


@given(
    st.integers(1, 70),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("uvw"), st.booleans()), max_size=99),
)
def test_no_order_of_jobs_gets_past_the_bounds(
    most: int, sent: list[tuple[str, str, bool]]
) -> None:
    queue = JobQueue(most)
    _, go = _held(queue)
    held: Counter[Client] = Counter()
    for address, name, on_its_way in sent:
        client = Client(address, name)
        with suppress(Busy):
            queue.announce(client)
            held[client] += 1
            if not on_its_way:
                queue.arrives(client)
                queue.submit(lambda job: None, client)
    assert held.total() <= most
    assert max(held.values(), default=0) <= max(1, most / 2 + 0.5)
    for address in "ab":
        assert sum(held[one] for one in held if one.address == address) < most or most == 1
    go.set()
    queue.close()


def test_a_closing_queue_ends_the_jobs_that_wait(queue: JobQueue) -> None:
    _, go = _held(queue)
    job = queue.submit(lambda job: None)
    queue.close()
    with pytest.raises(PopsError, match="the studio is closing"):
        asyncio.run(_all(job))
    go.set()


def test_places_are_kept_for_jobs_that_are_on_their_way(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in "aaabbc":
        queue.announce(Client(client))
    with pytest.raises(Busy, match="6 jobs wait already"):
        queue.announce(Client("d"))
    queue.arrives(Client("c"))
    with pytest.raises(Busy, match="3 of your jobs wait already"):
        queue.announce(Client("a"))
    queue.announce(Client("d"))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    queue.announce(Client("a"))  # those that did not come by now do not come


def _order(queue: JobQueue, clients: str) -> tuple[list[Job], list[str]]:
    """Jobs of the clients named, submitted while another is at work; and as they are done."""
    _, go = _held(queue)
    done: list[str] = []
    jobs = [
        queue.submit(lambda job, said=f"{client}{at}": done.append(said), Client(client))
        for at, client in enumerate(clients)
    ]
    places = [queue.ahead(job) for job in jobs]
    go.set()
    while not all(job.ended for job in jobs):
        time.sleep(0.005)
    assert places == [done.index(f"{client}{at}") + 1 for at, client in enumerate(clients)]
    return jobs, done


def test_clients_take_turns_and_each_knows_its_place(queue: JobQueue) -> None:
    _, done = _order(queue, "aaabbc")
    assert done == ["a0", "b3", "c5", "a1", "b4", "a2"]


@given(st.text("abcdef", max_size=8))
def test_nobody_has_a_second_job_done_while_another_waits_for_the_first(clients: str) -> None:
    queue = JobQueue(most_waiting=16)
    _, done = _order(queue, clients)
    queue.close()
    for name in set(clients):
        own = [said for said in done if said[0] == name]
        assert own == sorted(own)  # one's own in order
        first = done.index(own[0])
        assert len({said[0] for said in done[: first + 1]}) == first + 1


def test_a_waiting_job_knows_how_many_are_before_it(queue: JobQueue) -> None:
    _, go = _held(queue)
    first, second = queue.submit(lambda job: None), queue.submit(lambda job: None)
    assert (queue.ahead(first), queue.ahead(second)) == (1, 2)
    first.cancel()
    assert queue.ahead(second) == 1
    go.set()


def test_a_cancelled_job_ends_at_its_next_sign_of_life(queue: JobQueue) -> None:
    steps = 0
    started = threading.Event()

    def work(job: Job) -> None:
        nonlocal steps
        for step in range(1000):
            job.progress("drawing", step, 1000)
            steps += 1
            started.set()
            time.sleep(0.005)

    job = queue.submit(work)
    assert started.wait(10)
    job.cancel()
    with pytest.raises(PopsError, match="cancelled"):
        asyncio.run(_all(job))
    assert steps < 900


def test_a_waiting_job_that_is_cancelled_is_never_done(queue: JobQueue) -> None:
    held, go = _held(queue)
    ran = []
    waiting = queue.submit(lambda job: ran.append(1))
    waiting.cancel()
    go.set()
    asyncio.run(_all(held))
    asyncio.run(_all(queue.submit(lambda job: None)))
    assert ran == []


def test_who_stops_listening_cancels_the_job(queue: JobQueue) -> None:
    def work(job: Job) -> None:
        for step in range(1000):
            job.progress("drawing", step, 1000)
            time.sleep(0.005)

    job = queue.submit(work)

    async def leave() -> None:
        events = job.follow()
        async for event in events:
            if event["state"] == "working":
                break
        await events.aclose()

    asyncio.run(leave())
    started = time.monotonic()
    while not job.ended:
        time.sleep(0.01)
    assert time.monotonic() - started < 1 and job.error == "cancelled"


def test_what_the_engine_warns_of_is_told_to_whose_job_it_is(queue: JobQueue) -> None:
    log = logging.getLogger("pops.stacks.known")

    def work(job: Job) -> None:
        log.warning("pocket has never seen %r", "steampunk")
        other = threading.Thread(target=lambda: log.warning("of another job"))
        other.start()
        other.join()
        job.tell({"state": "done"})

    told = asyncio.run(_all(queue.submit(work)))
    warning = {"state": "warning", "warning": "pocket has never seen 'steampunk'"}
    assert [event for event in told if event["state"] != "waiting"] == [warning, {"state": "done"}]
    assert not logging.getLogger("pops.stacks").handlers


def test_a_friendly_error_is_told_in_its_own_words(queue: JobQueue) -> None:
    def work(job: Job) -> None:
        raise InputError("mug.png is no picture")

    with pytest.raises(PopsError, match="^mug.png is no picture$"):
        asyncio.run(_all(queue.submit(work)))


def test_an_unforeseen_error_is_logged_and_not_told(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    def work(job: Job) -> None:
        raise RuntimeError("secret path")

    with pytest.raises(PopsError, match="RuntimeError") as told:
        asyncio.run(_all(queue.submit(work)))
    assert "secret" not in str(told.value)
    assert "secret path" in caplog.text
    asyncio.run(_all(queue.submit(lambda job: None)))  # the worker is still there
