"""Progress of long work: the callable that hears of it, and bars on a terminal."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

__all__ = ["Progress", "ProgressBars", "part_of"]

Progress = Callable[[str, int, int], None]  # (name of the work, done, total)
PATIENCE = 0.5  # seconds before a progress bar shows


def part_of(progress: Progress, at: int, parts: int) -> Progress:
    """Show the progress of one of several equal pieces of work as progress of them all.

    Args:
        progress: hears of all pieces.
        at: the number of the piece, from 0; -1 for the last.
        parts: the number of pieces.

    Returns:
        What is to hear of the one piece.
    """
    before = at % parts
    return lambda what, done, total: progress(what, before * total + done, parts * total)


class ProgressBars:
    """Show a bar on stderr for each work that takes longer than half a second."""

    def __init__(self) -> None:
        self.what = ""
        self.bar: tqdm[Any] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` parts of the work named `what` are done."""
        bar = self.bar
        if bar is None or what != self.what or done < bar.n:
            self.close()
            self.what = what
            bar = tqdm(total=total, desc=what, delay=PATIENCE, leave=False, file=sys.stderr)
            self.bar = bar
        bar.update(done - bar.n)

    def close(self) -> None:
        """Remove the bar that is shown, if there is one."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
