"""Ctrl-C and SIGTERM as a request to stop after the present step."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupt"]

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Notes the first signal inside its block in `signal`; a second one acts as it always does.

    Blocks must be in the main thread.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def exit_status(self) -> int:
        """The exit status of a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal

    def __enter__(self) -> Interrupt:
        self._before = {kind: signal.signal(kind, self._note) for kind in WATCHED}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
