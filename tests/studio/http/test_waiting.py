"""Connections that send no request are closed; those that do, and those at work, are not."""

import asyncio
from types import SimpleNamespace

import pytest

from pops.studio.http import waiting
from pops.studio.http.waiting import MOST_OF_NETWORK, MOST_SECONDS, Waiting


class _Connection:
    def __init__(self, address: str = "10.0.0.1") -> None:
        self.client = (address, 1)
        self.cycle: object = None
        self.closed = False
        self.transport = SimpleNamespace(abort=self._close)

    def _close(self) -> None:
        self.closed = True


def _answering(done: bool) -> SimpleNamespace:
    return SimpleNamespace(response_complete=done)


def test_headers_that_never_end_are_given_up() -> None:
    silent, busy, socket = _Connection(), _Connection(), SimpleNamespace()
    busy.cycle = _answering(done=False)
    watched = Waiting(lambda: [silent, busy, socket])  # type: ignore[list-item]
    for now in (0.0, MOST_SECONDS):
        watched.look(now)
    assert not silent.closed
    watched.look(MOST_SECONDS + 0.1)
    assert silent.closed and not busy.closed


def test_each_request_of_a_connection_has_time_of_its_own() -> None:
    one = _Connection()
    watched = Waiting(lambda: [one])  # type: ignore[list-item]
    for now in range(0, 100, 5):
        one.cycle = _answering(done=True)  # another request came and was answered
        watched.look(now)
    assert not one.closed
    watched.look(95 + MOST_SECONDS + 0.1)
    assert one.closed


def test_one_place_cannot_hold_all_connections() -> None:
    many = [_Connection(f"2001:db8::{at:x}") for at in range(MOST_OF_NETWORK + 3)]
    other = _Connection("10.0.0.2")
    watched = Waiting(lambda: many)  # type: ignore[arg-type, return-value]
    for at in range(1, len(many) + 1):
        watched.connections = lambda at=at: [*many[:at], other]  # type: ignore[misc, assignment]
        watched.look(at / 1000)
    assert [one.closed for one in many] == [True] * 3 + [False] * MOST_OF_NETWORK
    assert not other.closed


def test_the_watch_ends_with_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY", 0.001)
    looked: list[float] = []

    async def main() -> None:
        watched = Waiting()
        monkeypatch.setattr(watched, "look", looked.append)
        async with watched.watch():
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert looked
