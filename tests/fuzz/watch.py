"""Watch what an input does beside being read: code, other files, memory and time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["TooSlow", "Watch"]

# What a reader of a file has no business to do.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
MOST_SECONDS = 15  # of the processor: the machine may be busy with other things
MOST_WAITING = 300  # seconds by the clock
MOST_BYTES = 2**30  # that one input may take
ROOM = 6 * 2**30  # beyond which the system refuses


class TooSlow(BaseException):
    """An input that takes longer than an input may; not an Exception, so that no reader eats it."""


class Watch:
    """Counts what inputs do. One for a process, since what it hooks into cannot be undone.

    Args:
        canary: A path that appears when code of an input runs.
        folder: The only place that a reader may write to, beside the system's temporary folder.
    """

    def __init__(self, canary: Path, folder: Path) -> None:
        import resource  # which Windows does not have

        self.canary, self.folder = canary, folder
        self.code: list[str] = []
        self._on = False
        sys.addaudithook(self._audit)
        for alarm in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(alarm, self._alarm)
        virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (virtual + ROOM, virtual + ROOM))

    @contextmanager
    def input(self) -> Iterator[dict[str, Any]]:
        """Watch one input; fills `peak` and `code` when the block ends."""
        found: dict[str, Any] = {}
        self.code = []
        before = _reset_peak()
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        signal.alarm(MOST_WAITING)
        self._on = True
        try:
            yield found
        finally:
            self._on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            found["large"] = _peak() - before > MOST_BYTES
            if self.canary.exists():
                self.canary.rmdir()
                self.code.append("canary")
            found["code"] = list(self.code)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in FORBIDDEN:
            self.code.append(f"{event} {arguments!r:.200}")

    def _alarm(self, *_: object) -> None:
        raise TooSlow


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a folder, by name: what tells that one was touched."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            stat = os.lstat(path)
            found[os.path.relpath(path, folder)] = (stat.st_size, stat.st_mtime_ns)
    return found


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
