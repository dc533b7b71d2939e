"""Limits that the system sets, for tests of what happens at them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_larger_than"]


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a full disk does."""
    import resource  # which Windows does not have

    limit = resource.RLIMIT_FSIZE
    soft, hard = resource.getrlimit(limit)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(limit, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
