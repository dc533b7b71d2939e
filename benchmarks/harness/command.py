"""Run a benchmark as a command: its settings from flags, its report as lines or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from pops.settings.flags.parsing import parse, run_command

__all__ = ["run_benchmark"]


class _Settings(Protocol):
    @property
    def json(self) -> bool: ...


class _Report(Protocol):
    def values(self) -> Mapping[str, float]: ...


Settings = TypeVar("Settings", bound=_Settings)
Report = TypeVar("Report", bound=_Report)


def run_benchmark(
    name: str,
    kind: type[Settings],
    measure: Callable[[Settings], Report],
    show: Callable[[Report], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a benchmark: parse, measure, print the report and, with `--json`, its values last.

    Args:
        name: The name of the benchmark's module.
        kind: The dataclass of its settings.
        measure: Makes the report of some settings.
        show: Writes a report as text.
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status.
    """

    def run(given: list[str]) -> int:
        settings = parse(f"python -m benchmarks.{name}", kind, given)
        if settings is None:
            return 0
        report = measure(settings)
        print(show(report))
        if settings.json:
            print(json.dumps(report.values()))
        return 0

    return run_command(f"benchmarks.{name}", arguments, run)
