"""Connections that send no request: how long each is waited for, and how many from one place.

A request is looked at once its headers are there. Whoever opens connections and never ends the
headers, or sends a letter a minute, would hold them for ever; so they are closed from here.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from pops.studio.http.hosts import network_of

__all__ = ["Waiting"]

MOST_SECONDS = 10.0  # for the headers of a request
MOST_OF_NETWORK = 64  # connections without a request from one place; the oldest of more are closed
LOOK_EVERY = 0.5  # seconds


class Connection(Protocol):
    """A connection of the server, as uvicorn keeps it."""

    transport: asyncio.Transport
    client: tuple[str, int] | None
    cycle: Any  # the request that is being answered, or was last; None before the first


class Waiting:
    """Closes connections that are waited for in vain.

    Args:
        connections: Gives the connections that are open now.
    """

    def __init__(self, connections: Callable[[], Iterable[Connection]] = tuple) -> None:
        self.connections = connections
        # Since when each connection has waited, and after which request.
        self._since: WeakKeyDictionary[Connection, tuple[float, int]] = WeakKeyDictionary()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Look at the connections again and again for as long as the context lasts.

        Yields:
            Nothing.
        """
        task = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            task.cancel()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Close the connections that have waited too long, and the oldest of too many.

        Args:
            now: Seconds of a clock that never goes back.
        """
        waiting = [one for one in self.connections() if _waits(one)]
        for one in waiting:
            turn = id(one.cycle)
            if self._since.get(one, (now, -1))[1] != turn:
                self._since[one] = (now, turn)
        of_network: Counter[str] = Counter()
        for one in sorted(waiting, key=lambda one: self._since[one], reverse=True):
            network = network_of(one.client[0] if one.client else "")
            of_network[network] += 1
            late = now - self._since[one][0] > MOST_SECONDS
            if late or of_network[network] > MOST_OF_NETWORK:
                one.transport.abort()


def _waits(connection: Connection) -> bool:
    """Tell whether no request is there; one of another protocol, such as a socket, never waits."""
    if not hasattr(connection, "cycle"):
        return False
    return connection.cycle is None or connection.cycle.response_complete
