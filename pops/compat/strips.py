"""List the strips to make: one for each way to put the inputs of the folders together."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import product
from pathlib import Path

from pops.compat.config import BinaryConfig, ClothesConfig, InstructConfig, PublishedConfig
from pops.errors import InputError, UsageError
from pops.io.names import safe_name, shown_files
from pops.operators import Operator

__all__ = ["StripInput", "Strip", "StripGroup", "group_strips", "list_strips"]


@dataclass(frozen=True)
class StripInput:
    """One input of a strip.

    Args:
        caption: the words above it.
        path: its file, or None.
        dropped: whether the operator gets a null input in its place; it is an empty frame then.
        shown: whether the strip shows it.
    """

    caption: str
    path: Path | None
    dropped: bool = False
    shown: bool = True

    @property
    def source(self) -> Path | None:
        """The file that the operator is given, or None for a null input."""
        return None if self.dropped else self.path


@dataclass(frozen=True)
class Strip:
    """One strip: inputs and a text, and the results of the operator for them.

    Args:
        name: the name that its files begin with.
        inputs: the inputs in the order of the operator's slots.
        text: the text, for an operator that takes one.
    """

    name: str
    inputs: tuple[StripInput, ...]
    text: str | None = None


@dataclass(frozen=True)
class StripGroup:
    """Strips that show the same results, since they differ only in inputs that are dropped.

    Args:
        sources: the files that the operator is given, None for a null input.
        text: the text, for an operator that takes one.
        depth_of: the file whose depth is kept, where a renderer keeps it.
        strips: the strips.
    """

    sources: tuple[Path | None, ...]
    text: str | None
    depth_of: Path | None
    strips: tuple[Strip, ...]

    @property
    def paths(self) -> list[Path]:
        """The distinct files that are read for it."""
        return [path for path in dict.fromkeys([*self.sources, self.depth_of]) if path is not None]


def group_strips(strips: Iterable[Strip], use_depth: bool) -> list[StripGroup]:
    """Put strips that show the same results together.

    Args:
        strips: strips in the order that they are made in.
        use_depth: whether the depth of the first input matters.

    Returns:
        The groups in the order of their first strips.
    """
    asked: dict[tuple[tuple[Path | None, ...], str | None, Path | None], list[Strip]] = {}
    for strip in strips:
        first = next((each.path for each in strip.inputs if each.path), None)
        sources = tuple(each.source for each in strip.inputs)
        asked.setdefault((sources, strip.text, first if use_depth else None), []).append(strip)
    return [StripGroup(*key, tuple(same)) for key, same in asked.items()]


@singledispatch
def list_strips(config: PublishedConfig, row: Callable[[], Operator]) -> list[Strip]:
    """List all strips of a published command.

    Args:
        config: the settings of the command.
        row: looks the operator up in its stack, which may take a while.

    Returns:
        The strips in the order of the sorted names, the last input changing fastest.

    Raises:
        InputError: a folder is missing or has nothing to take.
        UsageError: the settings do not say what to take.
        NotImplementedError: the settings are those of no known command.
    """
    raise NotImplementedError(type(config).__name__)


@list_strips.register
def _(config: BinaryConfig, row: Callable[[], Operator]) -> list[Strip]:
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
        Strip(
            f"{_stem(a)}_{_stem(b)}",
            (
                StripInput(config.input_a_name, a, config.drop_condition_a),
                StripInput(config.input_b_name, b, config.drop_condition_b),
            ),
        )
        for a, b in product(first, second)
    )


@list_strips.register
def _(config: InstructConfig, row: Callable[[], Operator]) -> list[Strip]:
    found = _found("a", config.dir_a, config.file_exts_a, config.name_filter_a)
    if found == [None]:
        raise UsageError("--dir_a is not given: name a folder or a file")
    return _named(
        Strip(f"{_stem(path)}_{text}", (StripInput(text, path),), text)
        for path, text in product(found, config.instructions)
    )


@list_strips.register
def _(config: ClothesConfig, row: Callable[[], Operator]) -> list[Strip]:
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
    strips = []
    for outfit in product(*(paths for _, paths in choices)):
        name = "_".join(map(_stem, outfit)) if folders else place.resolve().stem
        inputs = [
            StripInput(slot, None, dropped=True, shown=False)
            if at is None
            else StripInput(slot, outfit[at])
            for slot, at in slots
        ]
        strips.append(Strip(name, tuple(inputs)))
    return _named(strips)


def _slots(names: Sequence[str], operator: Operator, folder: Path) -> list[tuple[str, int | None]]:
    """List the operator's slots in order, each with the index in `names` of the one for it.

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
                f"{folder}: {name} has no slot, since {why} (the slots are "
                f"{', '.join(operator.inputs)}); to combine several garments of one slot, use "
                "a folder for each slot"
            )
    return [(slot, homes.index(slot) if slot in homes else None) for slot in operator.inputs]


def _slot(name: str, slots: Sequence[str]) -> str | None:
    """Find the slot that a name begins with: `skirt`, `skirt_red` and `Skirt 2` are all skirt."""
    plain = re.sub(r"[\W_]+", "-", name.lower())
    fitting = [slot for slot in slots if plain == slot or plain.startswith(f"{slot}-")]
    return max(fitting, key=len, default=None)


def _found(
    letter: str,
    place: Path | None,
    endings: Sequence[str],
    filters: Sequence[str] | None,
) -> list[Path | None]:
    """List the inputs at a place: those of a folder, or the one that it is; [None] for no place."""
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
        and (filters is None or any(_composed(part) in _composed(path.stem) for part in filters))
    ]
    if not found:
        named = f" with {' or '.join(filters)} in its name" if filters else ""
        raise InputError(
            f"{folder} has no file{named} that ends in {', '.join(endings)}: check --dir_a and "
            "--dir_b"
        )
    return found


def _visible(folder: Path) -> list[Path]:
    try:
        return shown_files(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot read {folder}: {(error.strerror or str(error)).lower()}"
        ) from error


def _composed(text: str) -> str:
    """Write a letter and its marks as one, which some systems do in names of files."""
    return unicodedata.normalize("NFC", text)


def _stem(path: Path | None) -> str:
    return "" if path is None else path.stem


def _named(strips: Iterable[Strip]) -> list[Strip]:
    """Give the distinct strips names that no other has and every file system takes.

    The first keeps a name that several would have; the others' end in a hash of their inputs.
    """
    named: dict[str, Strip] = {}
    for strip in dict.fromkeys(strips):
        name = safe_name(strip.name)
        if name.casefold() in named:
            which = repr(([str(i.path) for i in strip.inputs], strip.text))
            name = safe_name(strip.name, apart_by=which)
        named[name.casefold()] = replace(strip, name=name)
    return list(named.values())
