"""Reading the bodies of requests, within limits of time and memory.

A body that trickles in, or never comes, holds no place that another needs: only bytes that have
arrived are counted. All bodies together, and those of one address, are bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from pops.studio.http.refusals import Refusal, TooLarge, TooMany, TooSlow

__all__ = ["Bodies", "Message", "Receive", "replay"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

GRACE = 10.0  # seconds that every body has to arrive
LEAST_RATE = 10_000  # bytes a second; a body of that many bytes more has a second more


class Gone(Refusal):
    """The sender went away before the whole body was there."""

    status = 499


class Bodies:
    """The bodies of the requests that are at work.

    Args:
        most_bytes: The bytes that all bodies may take together; those of one address may take half.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """The bytes that are held now."""
        return self._held.total()

    @asynccontextmanager
    async def read(self, receive: Receive, limit: int, address: str) -> AsyncIterator[bytes]:
        """Read one body, which counts as held until the context ends.

        Args:
            receive: The ASGI callable of the request.
            limit: The bytes that this body may have.
            address: The address of the sender.

        Yields:
            The whole body.

        Raises:
            Refusal: The body is too large, too slow, cut off, or there is no room for it now.
        """
        parts: list[bytes] = []
        size = held = 0
        started = time.monotonic()
        try:
            more = True
            while more:
                part, more = await _part(receive, started + GRACE + size / LEAST_RATE)
                size += len(part)
                if size > limit:
                    raise TooLarge(f"the request is too large: at most {_amount(limit)} are taken")
                self._hold(address, len(part))
                held = size
                parts.append(part)
            body = b"".join(parts)
            parts.clear()
            yield body
        finally:
            parts.clear()  # an error that is kept would keep the bytes in memory, too
            self._held[address] -= held
            self._held += Counter()  # addresses that hold nothing are forgotten

    def _hold(self, address: str, size: int) -> None:
        if self.held + size > self.most_bytes or self._held[address] + size > self.most_bytes // 2:
            raise TooMany("the studio is busy, since too much is being sent: try again in a minute")
        self._held[address] += size


async def _part(receive: Receive, deadline: float) -> tuple[bytes, bool]:
    """Read one piece of a body, and whether there is more."""
    try:
        message = await asyncio.wait_for(receive(), max(deadline - time.monotonic(), 0.001))
    except TimeoutError as error:
        raise TooSlow("the request took too long to arrive: try again") from error
    if message["type"] == "http.disconnect":
        raise Gone("the sender went away")
    return message.get("body", b""), bool(message.get("more_body"))


def replay(body: bytes, receive: Receive) -> Receive:
    """Make an ASGI callable that gives a body that was read already.

    Args:
        body: The whole body.
        receive: The callable that it came from, which tells when the sender goes away.

    Returns:
        The callable.
    """
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _amount(size: int) -> str:
    return f"{size // 2**20} MB" if size >= 2**20 else f"{size // 2**10} KB"
