"""Report a study: shares with Wilson intervals, and agreement by Krippendorff's alpha."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pops.errors import DataError, InputError, UsageError, install_hint
from pops.evaluation.report.statistics import wilson
from pops.evaluation.study.make import ANSWERS, KEY
from pops.io.formats.schema import Meta, Schema, Text, read_json
from pops.io.names import shown_files

__all__ = ["agreement", "report_study"]

VALUES = {"first": 0, "second": 1, "same": 2}
Method = Literal["first", "second"]


class _Sides(Schema):
    """The sides of a pair."""

    name: Text
    left: Method
    right: Method


class _Key(Schema):
    """`key.json`: which method is on which side."""

    study: Text
    question: Text
    first: Text
    second: Text
    pairs: dict[str, _Sides]


class _Answers(Schema):
    """The file that a rater sends."""

    study: Text
    rater: Annotated[str, Meta(min_length=1, max_length=60)]
    answers: dict[str, Literal["left", "right", "same"]]


def report_study(folder: Path) -> dict[str, Any]:
    """Report the answers of a study.

    Args:
        folder: The folder of the study.

    Returns:
        Shares with intervals, of all answers and of those that prefer one; agreement; and numbers
        of raters and answers.

    Raises:
        InputError: The key or a file of answers is damaged, or of another study.
        DataError: There are no answers yet.
    """
    key = read_json(folder / KEY, _Key, InputError)
    raters = _read_answers(folder / ANSWERS, key)
    counts = Counter(method for answers in raters.values() for method in answers.values())
    total = counts.total()
    if not total:
        raise DataError(f"{folder / ANSWERS} holds no answers: put the files of the raters there")
    decided = counts["first"] + counts["second"]
    return {
        "question": key.question,
        "first": key.first,
        "second": key.second,
        "raters": len(raters),
        "pairs": len(key.pairs),
        "answers": total,
        "shares": {name: _share(counts[name], total) for name in VALUES},
        "preferred": {
            name: _share(counts[name], decided) for name in ("first", "second") if decided
        },
        "agreement": agreement(list(raters.values()), list(key.pairs)),
    }


def _read_answers(folder: Path, key: _Key) -> dict[str, dict[str, str]]:
    """Read the method that each rater chose, by pair."""
    found: dict[str, dict[str, str]] = {}
    for path in shown_files(folder.glob("*.json")):
        sent = read_json(path, _Answers, InputError)
        if sent.study != key.study:
            raise InputError(
                f"{path} belongs to another study, {sent.study}, not to {key.study}: remove it"
            )
        if sent.rater in found:
            raise InputError(
                f"{path}: {sent.rater} has answered already: keep one file of each rater"
            )
        if unknown := sorted(set(sent.answers) - set(key.pairs)):
            raise InputError(
                f"{path} answers a pair {unknown[0]}, which the study does not have: remove it"
            )
        found[sent.rater] = {
            pair: "same" if side == "same" else getattr(key.pairs[pair], side)
            for pair, side in sent.answers.items()
        }
    return found


def _share(hits: int, count: int) -> dict[str, float | int]:
    low, high = wilson(hits, count)
    return {"share": hits / count, "low": low, "high": high, "count": hits}


def agreement(raters: Sequence[Mapping[str, str]], pairs: Sequence[str]) -> float | None:
    """Compute Krippendorff's alpha of nominal answers.

    Args:
        raters: The answers of each rater, by pair.
        pairs: All pairs.

    Returns:
        Alpha: 1 where raters agree, 0 where they agree no more than by chance. None where nothing
        can be said: fewer than two raters, no pair that two have answered, or one answer to all.

    Raises:
        UsageError: The library is not installed.
    """
    try:
        import krippendorff
    except ImportError as error:
        raise UsageError(f"agreement needs krippendorff: {install_hint('eval')}") from error
    nan = float("nan")
    table = [[VALUES.get(own.get(pair, ""), nan) for pair in pairs] for own in raters]
    shared = [pair for pair in pairs if sum(pair in own for own in raters) > 1]
    values = {own[pair] for own in raters for pair in shared if pair in own}
    if len(values) < 2:
        return None
    return float(krippendorff.alpha(table, level_of_measurement="nominal"))
