"""Answers that stay open: events of jobs, and Gradio's heartbeats. How many there may be at once.

An answer of events ends with its job. A heartbeat has no end of its own: Gradio's client holds it
for as long as it lives, and where it ended sooner, Gradio would stop the jobs of that client. A
peer that has gone away is noticed, since something is sent every few seconds. So such answers are
bounded by their number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pops.studio.http.refusals import TooMany

__all__ = ["STREAM", "Streams"]

STREAM = re.compile(r"/gradio_api/(queue/data|heartbeat/\w+|call/\w+/[\w-]+)", re.ASCII)
MOST = 2000
MOST_OF_ADDRESS = 500


class Streams:
    """The answers that are open now.

    Args:
        most: How many there may be at once.
        most_of_address: How many of them may be to one address.
    """

    def __init__(self, most: int = MOST, most_of_address: int = MOST_OF_ADDRESS) -> None:
        self.most = most
        self.most_of_address = most_of_address
        self._open: Counter[str] = Counter()

    @contextmanager
    def hold(self, address: str) -> Iterator[None]:
        """Count an answer as open until the block ends.

        Args:
            address: The address that is answered.

        Yields:
            Nothing.

        Raises:
            TooMany: There are as many as there may be.
        """
        if self._open.total() >= self.most or self._open[address] >= self.most_of_address:
            raise TooMany("too many answers are waited for at once: close some pages, or wait")
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            self._open += Counter()  # addresses without an answer are forgotten
