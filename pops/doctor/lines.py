"""A line of the report of `pops doctor`: what was looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReportLine", "gigabytes"]


@dataclass(frozen=True)
class ReportLine:
    """One line of the report; it tells what to do where all is not well.

    Args:
        what: the thing that was looked at.
        says: what was found.
        advice: what the user has to do; empty where all is well.
    """

    what: str
    says: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.advice

    def __str__(self) -> str:
        """Write the line as the command prints it."""
        advice = f"; to do: {self.advice}" if self.advice else ""
        return f"{'ok' if self.ok else 'TO DO':<6}{self.what:<17}{self.says}{advice}"


def gigabytes(count: float) -> str:
    """Write a number of bytes in gigabytes.

    Args:
        count: the bytes.

    Returns:
        Such as `4.1 GB`.
    """
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.0f} MB"
