"""A studio on a free port, as the tests of its server and of its page start it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pops.studio.app import start
from pops.studio.config import StudioConfig
from pops.studio.studio import Studio

__all__ = ["running"]


@contextmanager
def running(waiting: int = 24) -> Iterator[tuple[str, Studio]]:
    """Its address and what is behind it; the models are loaded when it is handed over."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = StudioConfig(device="cpu", port=port, browser=False, waiting=waiting)
    server, url, studio = start(config)
    try:
        studio.desk.submit(lambda job: None)
        yield url.rstrip("/"), studio
    finally:
        studio.desk.close()
        server.get_blocks().close(verbose=False)
