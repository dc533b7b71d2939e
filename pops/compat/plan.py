"""What is to be made: the files of the folders, and a job for each way to put them together."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import product
from pathlib import Path

from pops.compat.config import BinaryConfig, ClothesConfig, InstructConfig, PublishedConfig
from pops.errors import InputError, UsageError
from pops.io.names import safe_name
from pops.operators import Operator

__all__ = ["Input", "Job", "Request", "distinct_requests", "plan"]


@dataclass(frozen=True)
class Input:
    """One slot of a job."""

    caption: str
    path: Path | None
    dropped: bool = False  # a null input to the operator, shown as an empty frame
    shown: bool = True

    @property
    def source(self) -> Path | None:
        """What the operator is given."""
        return None if self.dropped else self.path


@dataclass(frozen=True)
class Job:
    """One request to the operator, and the name its files begin with."""

    name: str
    inputs: tuple[Input, ...]
    text: str | None = None


@dataclass(frozen=True)
class Request:
    """What the operator is asked, and the jobs that show the same answer."""

    sources: tuple[Path | None, ...]  # None: a null input
    text: str | None
    depth_of: Path | None
    jobs: tuple[Job, ...]

    @property
    def paths(self) -> list[Path]:
        """Everything that is read for it."""
        return [path for path in dict.fromkeys([*self.sources, self.depth_of]) if path is not None]


def distinct_requests(jobs: Iterable[Job], use_depth: bool) -> list[Request]:
    """Jobs that differ in nothing but an input that is dropped are one request."""
    asked: dict[tuple[tuple[Path | None, ...], str | None, Path | None], list[Job]] = {}
    for job in jobs:
        first = next((each.path for each in job.inputs if each.path), None)
        sources = tuple(each.source for each in job.inputs)
        asked.setdefault((sources, job.text, first if use_depth else None), []).append(job)
    return [Request(*key, tuple(same)) for key, same in asked.items()]


@singledispatch
def plan(config: PublishedConfig, row: Callable[[], Operator]) -> list[Job]:
    """The jobs, in the order of the sorted names, the last input changing fastest.

    `row`: looks the operator up in its stack, which may take a while.

    Raises:
        InputError: a folder is missing or has nothing to take.
        UsageError: the settings do not say what to take.
    """
    raise NotImplementedError(type(config).__name__)


@plan.register
def _(config: BinaryConfig, row: Callable[[], Operator]) -> list[Job]:
    first = _found("a", config.dir_a, config.file_exts_a, config.name_filter_a)
    second = _found("b", config.dir_b, config.file_exts_b, config.name_filter_b)
    for letter, found, dropped in (
        ("a", first, config.drop_condition_a),
        ("b", second, config.drop_condition_b),
    ):
        if found == [None] and not dropped:
            raise UsageError(
                f"--dir_{letter} is not given: name a folder or a file, or leave the input out by "
                f"--drop_condition_{letter}"
            )
    return _named(
        Job(
            f"{_stem(a)}_{_stem(b)}",
            (
                Input(config.input_a_name, a, config.drop_condition_a),
                Input(config.input_b_name, b, config.drop_condition_b),
            ),
        )
        for a, b in product(first, second)
    )


@plan.register
def _(config: InstructConfig, row: Callable[[], Operator]) -> list[Job]:
    found = _found("a", config.dir_a, config.file_exts_a, config.name_filter_a)
    if found == [None]:
        raise UsageError("--dir_a is not given: name a folder or a file")
    return _named(
        Job(f"{_stem(path)}_{text}", (Input(text, path),), text)
        for path, text in product(found, config.instructions)
    )


@plan.register
def _(config: ClothesConfig, row: Callable[[], Operator]) -> list[Job]:
    place = config.dir_a
    if place is None:
        raise UsageError("--dir_a is not given: name a folder of garments, or of one for each slot")
    folders = [path for path in _visible(place) if path.is_dir()] if place.is_dir() else []
    if folders:
        choices = [(f.name, _files(f, config.file_exts_a, config.name_filter_a)) for f in folders]
    else:
        found = _found("a", place, config.file_exts_a, config.name_filter_a)
        choices = [(path.stem, [path]) for path in found if path]
    slots = _slots([name for name, _ in choices], row(), place)
    jobs = []
    for outfit in product(*(paths for _, paths in choices)):
        name = "_".join(map(_stem, outfit)) if folders else place.resolve().stem
        inputs = [
            Input(slot, None, dropped=True, shown=False) if at is None else Input(slot, outfit[at])
            for slot, at in slots
        ]
        jobs.append(Job(name, tuple(inputs)))
    return _named(jobs)


def _slots(names: Sequence[str], operator: Operator, folder: Path) -> list[tuple[str, int | None]]:
    """The operator's slots in order, each with the place in `names` of what is named after it.

    Where no name is that of a slot, the names take the slots in turn.
    """
    homes = [_slot(name, operator.inputs) for name in names]
    if not any(homes):
        operator.check_inputs(len(names), None)
        return [(slot, at) for at, slot in enumerate(operator.inputs[: len(names)])]
    for name, home in zip(names, homes, strict=True):
        if home is None or homes.count(home) > 1:
            why = f"{home} is taken twice" if home else "it is named after no slot"
            raise UsageError(
                f"{folder}: {name} has no slot, since {why}: the slots are "
                f"{', '.join(operator.inputs)}; to combine several of one, use a folder for each"
            )
    return [(slot, homes.index(slot) if slot in homes else None) for slot in operator.inputs]


def _slot(name: str, slots: Sequence[str]) -> str | None:
    """The slot that a name begins with: `skirt`, `skirt_red` and `Skirt 2` are all skirt."""
    plain = re.sub(r"[\W_]+", "-", name.lower())
    fitting = [slot for slot in slots if plain == slot or plain.startswith(f"{slot}-")]
    return max(fitting, key=len, default=None)


def _found(
    letter: str,
    place: Path | None,
    endings: Sequence[str],
    filters: Sequence[str] | None,
) -> list[Path | None]:
    """The inputs at a place: those of a folder, or the one that it is; [None] for no place."""
    if place is None:
        return [None]
    if place.is_dir():
        return list(_files(place, endings, filters))
    if not place.exists():
        raise InputError(f"no such file or folder: {place}; check --dir_{letter}")
    return [place]


def _files(folder: Path, endings: Sequence[str], filters: Sequence[str] | None) -> list[Path]:
    lowered = tuple(ending.lower() for ending in endings)
    found = [
        path
        for path in _visible(folder)
        if path.name.lower().endswith(lowered)
        and path.is_file()
        and (filters is None or any(part in path.stem for part in filters))
    ]
    if not found:
        named = f" with {' or '.join(filters)} in its name" if filters else ""
        raise InputError(f"{folder} has no file{named} that ends in {', '.join(endings)}")
    return found


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"cannot read {folder}: {(error.strerror or str(error)).lower()}"
        ) from error


def _stem(path: Path | None) -> str:
    return "" if path is None else path.stem


def _named(jobs: Iterable[Job]) -> list[Job]:
    """The distinct jobs, each with a name that no other has and any file system takes.

    The first keeps a name that several would have; the others' says which inputs they are of.
    """
    named: dict[str, Job] = {}
    for job in dict.fromkeys(jobs):
        name = safe_name(job.name)
        if name.casefold() in named:
            which = repr(([str(i.path) for i in job.inputs], job.text))
            name = safe_name(job.name, apart_by=which)
        named[name.casefold()] = replace(job, name=name)
    return list(named.values())
