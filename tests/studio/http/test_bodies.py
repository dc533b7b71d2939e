"""Bodies of requests: what arrives in time and fits is read, and nothing else holds a place."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.studio.http import bodies as module
from pops.studio.http.bodies import Bodies, Message, replay
from pops.studio.http.refusals import Refusal, TooLarge, TooMany, TooSlow

Receive = Callable[[], Awaitable[Message]]


def coming(*parts: bytes, after: float = 0.0, ends: bool = True) -> Receive:
    """A body that comes in parts, some seconds after each other, and may never end."""
    left = list(parts)

    async def receive() -> Message:
        await asyncio.sleep(after)
        if left:
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}
        await asyncio.sleep(60)
        raise AssertionError("nobody waits that long")

    return receive


async def read(bodies: Bodies, receive: Receive, limit: int = 100, address: str = "a") -> bytes:
    async with bodies.read(receive, limit, address) as body:
        assert bodies.held >= len(body)
        return body


@given(st.lists(st.binary(max_size=30), min_size=1), st.integers(0, 200), st.integers(0, 400))
def test_a_body_is_read_whole_or_refused_and_nothing_stays(
    parts: list[bytes], limit: int, most: int
) -> None:
    bodies = Bodies(most)
    whole = b"".join(parts)
    if len(whole) > limit:
        with pytest.raises((TooLarge, TooMany)):
            asyncio.run(read(bodies, coming(*parts), limit))
    elif len(whole) > most // 2:
        with pytest.raises(TooMany):
            asyncio.run(read(bodies, coming(*parts), limit))
    else:
        assert asyncio.run(read(bodies, coming(*parts), limit)) == whole
    assert bodies.held == 0 and not bodies._held


def test_a_body_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.05)
    bodies = Bodies(1000)
    for receive in (coming(after=1), coming(b"abc", ends=False)):
        with pytest.raises(TooSlow, match="took too long to arrive"):
            asyncio.run(read(bodies, receive))
    assert bodies.held == 0


def test_a_body_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)
    with pytest.raises(TooSlow):
        asyncio.run(read(Bodies(1000), coming(*[b"x"] * 100, after=0.03)))


def test_a_large_body_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.05)
    monkeypatch.setattr(module, "LEAST_RATE", 100.0)
    parts = [b"x" * 10] * 5  # each has a tenth of a second more
    assert asyncio.run(read(Bodies(1000), coming(*parts, after=0.04))) == b"x" * 50


def test_a_body_that_is_waited_for_keeps_nobody_from_sending() -> None:
    async def many() -> bytes:
        bodies = Bodies(1000)
        waiting = [
            asyncio.create_task(read(bodies, coming(b"abc", ends=False), 1000)) for _ in range(100)
        ]
        await asyncio.sleep(0.05)
        try:
            return await read(bodies, coming(b"whole"), address="a")
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert bodies.held == 0

    assert asyncio.run(many()) == b"whole"


def test_one_address_leaves_room_for_others() -> None:
    async def both() -> None:
        bodies = Bodies(1000)
        async with bodies.read(coming(b"x" * 500), 1000, "a"):
            with pytest.raises(TooMany, match="too much is being sent"):
                await read(bodies, coming(b"x"), address="a")
            assert await read(bodies, coming(b"x" * 500), 1000, "b") == b"x" * 500
        assert await read(bodies, coming(b"x"), address="a") == b"x"

    asyncio.run(both())


def test_a_sender_who_goes_away_is_no_empty_body() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(Refusal, match="went away"):
        asyncio.run(read(Bodies(1000), receive))


def test_a_body_that_was_read_is_given_again_once() -> None:
    async def twice() -> list[Any]:
        again = replay(b"body", coming(b"later"))
        return [(await again())["body"] for _ in range(2)]

    assert asyncio.run(twice()) == [b"body", b"later"]
