"""Kinds of settings: how the value of each kind is read, and how help and errors describe it."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pops.io.names import can_be_path, expand_home
from pops.settings.fields import PathOrName, PathsOrNames, whole_number, whole_numbers
from pops.settings.flags.reading import Given, Written, read_items

__all__ = ["Kind", "find_kind", "shown"]


@dataclass(frozen=True)
class Kind:
    """One kind of setting.

    Args:
        read: makes the value from what is given; ValueError where it cannot be.
        takes: says in words what may be given.
        metavar: stands for the value in help.
    """

    read: Callable[[Any], Any]
    takes: str
    metavar: str


def find_kind(annotation: Any, choices: Iterable[str] | None = None) -> Kind:
    """Find the kind of a setting.

    Args:
        annotation: the type of the dataclass field.
        choices: the names that may be given, or None for any.

    Returns:
        How its value is read and described.
    """
    if get_origin(annotation) is Literal:
        names = get_args(annotation)
        return Kind(_choice(names), f"one of {', '.join(names)}", f"{{{','.join(names)}}}")
    kind = _KINDS[annotation]
    if choices is None:
        return kind
    names = tuple(choices)
    return Kind(kind.read, f"one of {', '.join(names)}", f"{{{','.join(names)}}}")


def shown(value: object) -> str:
    """Write a default value as it could be given.

    Args:
        value: the value.

    Returns:
        A text.
    """
    if isinstance(value, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return "null" if value is None else str(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return str(value)


def _switch(value: str | bool) -> bool:
    word = str(value).lower()
    if word not in ("true", "false", "yes", "no", "on", "off"):
        raise ValueError(f"{value!r} is neither true nor false")
    return word in ("true", "yes", "on")


def _number(value: str | float) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError(f"{value!r} is not a number")
    if isinstance(value, str) and re.fullmatch(r"[-+]?\.(inf|nan)", value.lower()):
        value = value.replace(".", "")  # as YAML writes them
    return float(value)


def _numbers(value: str | float | Iterable[str | float]) -> tuple[float, ...]:
    """Read numbers: `1,8`, `[1,8]`, `8` or a list in YAML."""
    items = _items(value) if isinstance(value, str) else value
    return tuple(map(_number, items)) if isinstance(items, Iterable) else (_number(items),)


def _texts(value: Given | tuple[str, ...]) -> tuple[str, ...]:
    """Read texts: `a,b`, `[a, b]` or a list in YAML; nothing at all, or null, for none."""
    if value is None or (value in ("", "null") and not isinstance(value, Written)):
        return ()
    return tuple(map(_text, _items(value) if isinstance(value, str) else value))


def _items(text: str) -> list[str]:
    return read_items(text) if text.lstrip().startswith("[") else text.split(",")


def _path(value: str | Path) -> Path:
    if not isinstance(value, str | Path) or not str(value) or not can_be_path(value):
        raise ValueError(f"{value!r} is not a path")
    return expand_home(value)


def _place(value: str) -> str:
    """Read a path whose `~` is the home folder, or a name as it is."""
    if not _text(value) or not can_be_path(value):  # an empty one would be the folder one is in
        raise ValueError(f"{value!r} is neither a path nor a name")
    return str(expand_home(value)) if value.startswith("~") else str(value)


def _places(value: Given | tuple[str, ...]) -> tuple[str, ...]:
    """Read paths as `_texts` does, but one that exists is one item whatever commas it has."""
    if isinstance(value, str) and value and os.path.exists(expand_home(value)):
        return (_place(value),)
    return tuple(map(_place, _texts(value)))


def _choice(names: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not one of them")
        return str(value)

    return read


def _or_null(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_optional(value: Any) -> Any:
        if value is None or (value == "null" and not isinstance(value, Written)):
            return None
        return read(value)

    return read_optional


_KINDS: dict[Any, Kind] = {
    bool: Kind(_switch, "true or false", ""),
    int: Kind(whole_number, "a whole number", "N"),
    float: Kind(_number, "a number", "X"),
    str: Kind(_text, "a text", "TEXT"),
    Path: Kind(_path, "a path", "PATH"),
    PathOrName: Kind(_place, "a path or a name", "PATH"),
    PathsOrNames: Kind(_places, "paths or names, as in [a,b]", "A,B"),
    tuple[int, ...]: Kind(whole_numbers, "whole numbers, as in 18,42 or 1..8", "N,N"),
    tuple[float, ...]: Kind(_numbers, "numbers, as in 1,8", "X,X"),
    tuple[str, ...]: Kind(_texts, "texts, as in [a,b]", "A,B"),
}
_KINDS |= {
    annotation | None: Kind(_or_null(kind.read), f"{kind.takes} or null", kind.metavar)
    for annotation, kind in tuple(_KINDS.items())
}
