"""JSON files that are checked before they are used: kinds, counts and sizes.

A file format is a `msgspec.Struct` whose fields have types and, by `Annotated`, limits. What is
missing, unknown, of another kind or beyond a limit is refused in one line that names the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from pops.errors import InputError, PopsError

__all__ = ["Count", "FileFormat", "Index", "ShortText", "parse_json", "read_json"]

T = TypeVar("T")
MOST_BYTES = 2**28  # of a JSON file; larger ones are refused before they are read
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Index = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
ShortText = Annotated[str, msgspec.Meta(max_length=10_000)]


class FileFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the formats of JSON files: a field that is not known is refused."""


def read_json(
    path: Path,
    kind: type[T],
    *,
    error: type[PopsError] = InputError,
    advice: str = "",
    most_bytes: int = MOST_BYTES,
) -> T:
    """Read a JSON file and check it against a type.

    Args:
        path: The file.
        kind: A `FileFormat`, or any type that `msgspec` checks, such as `list[int]`.
        error: The exception that is raised when the file cannot be used.
        advice: What the user can do, for the end of the message.
        most_bytes: The size above which the file is refused unread.

    Returns:
        The content as `kind`.

    Raises:
        FileNotFoundError: There is no such file.
        PopsError: The file cannot be read, is too large, is not JSON or does not fit; of the type
            `error`.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise error(f"{path} has {size:,} bytes, more than the {most_bytes:,} allowed{advice}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as fault:
        reason = (fault.strerror or str(fault)).lower()
        raise error(f"cannot read {path}: {reason}{advice}") from fault
    return parse_json(content, kind, str(path), error=error, advice=advice)


def parse_json(
    content: bytes,
    kind: type[T],
    name: str,
    *,
    error: type[PopsError] = InputError,
    advice: str = "",
) -> T:
    """Check the content of a JSON file against a type.

    Args:
        content: UTF-8 text, with or without a byte-order mark.
        kind: A `FileFormat`, or any type that `msgspec` checks.
        name: The file, and where the content is in it, for the message.
        error: The exception that is raised when the content does not fit.
        advice: What the user can do, for the end of the message.

    Returns:
        The content as `kind`.

    Raises:
        PopsError: The content is not JSON or does not fit; of the type `error`.
    """
    try:
        return msgspec.json.decode(content.removeprefix(BYTE_ORDER_MARK), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise error(f"{name}: {_plain(str(fault))}{advice}") from fault
    except RecursionError as fault:
        raise error(f"{name}: it is nested too deeply{advice}") from fault


def _plain(reason: str) -> str:
    """Name the place in a message of msgspec as a user writes it: `$.a` becomes `a`."""
    return reason.replace("`$.", "`").replace(" - at `$`", "")
