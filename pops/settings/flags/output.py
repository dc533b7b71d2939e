"""Standard output that never undoes work: a closed pipe or a narrow encoding fails no command."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["lenient_output"]


class _Lenient:
    """A stream that falls silent when its reader has gone, as in `pops run ... | head -1`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with self._going_on():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._going_on():
            self.stream.flush()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # what is written from now on goes nowhere, also at exit
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, self.stream.fileno())
            os.close(silence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def lenient_output() -> Iterator[None]:
    """Let a block write to standard output and standard error whatever becomes of them.

    A letter that the encoding of the stream does not have is written as an escape, and what is
    written after the reader has gone is dropped.

    Yields:
        Nothing.
    """
    _fill_missing()
    streams = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for stream in streams:
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = (_Lenient(stream or nowhere) for stream in streams)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(ValueError):  # it is closed
                    stream.flush()
            sys.stdout, sys.stderr = streams


def _fill_missing() -> None:
    """Open the null device in the place of a standard stream that is closed.

    A file that is opened later would get its number, and whatever a library or a process that is
    started prints would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
