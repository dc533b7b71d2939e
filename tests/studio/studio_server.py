"""A studio on a free port, as the tests of its server and of its page start it."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pops.studio.app import start
from pops.studio.config import StudioConfig
from pops.studio.service import StudioService

__all__ = ["ignored", "png_that_says", "running"]

# Gradio's server leaves the event loops of its threads open, and with each a pair of sockets.
ignored = [
    pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning"),
    pytest.mark.filterwarnings(r"ignore:unclosed <socket.socket fd=\d+, family=1,:ResourceWarning"),
]


@contextmanager
def running(
    waiting: int = 64, stack: str = "pocket", **more: Any
) -> Iterator[tuple[str, StudioService]]:
    """Its address and what is behind it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = StudioConfig(
        stack=stack, device="cpu", port=port, browser=False, waiting=waiting, **more
    )
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # or Gradio makes one, and leaves it open
    server, url, studio = start(config)
    try:
        yield url.rstrip("/"), studio
    finally:
        studio.queue.close()
        server.get_blocks().close(verbose=False)
        asyncio.set_event_loop(None)
        loop.close()
        gc.collect()  # what Gradio left open is complained of here, not in another test


def png_that_says(side: int) -> bytes:
    """A small file whose header says side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000), 9)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
