"""Check what a file says before anything acts on it: kinds, counts, sizes and unknown fields.

A file's content is described by a `Schema`, a class with typed fields. Reading a file checks its
size, decodes it and checks every field; whatever does not fit becomes one line that names the file,
the field and the fault.

    class Box(Schema):
        name: PlainName
        corners: Annotated[tuple[int, ...], Meta(max_length=4)]
        score: Share = 1.0

    box = read_json(folder / "box.json", Box, InputError)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from pops.errors import OutputError, PopsError
from pops.io.files import atomic_path, check_file, reason_of

__all__ = [
    "AdapterFile",
    "OperatorFile",
    "OperatorRow",
    "RenderFile",
    "MOST_BYTES",
    "Count",
    "Finite",
    "Meta",
    "PlainName",
    "Positive",
    "Schema",
    "Share",
    "Text",
    "decode_json",
    "fit",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_text",
    "write_json",
]

T = TypeVar("T")

MOST_BYTES = 2**20  # of a card, a config or the like; larger files are refused unread

Count = Annotated[int, Meta(ge=0, le=2**40)]  # of things or bytes
Positive = Annotated[int, Meta(ge=1, le=2**40)]
Finite = Annotated[float, Meta(ge=-3.4e38, le=3.4e38)]  # NaN and infinities are out of range
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Text = Annotated[str, Meta(max_length=10_000)]
# A file's or folder's name: it leads into no other folder, is not hidden and fits file systems.
PlainName = Annotated[str, Meta(max_length=255, pattern=r"^[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*\Z")]


class Schema(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the classes that describe a file's content. Unknown fields are refused."""


def read_json(
    path: str | Path,
    kind: type[T],
    error: type[PopsError],
    most_bytes: int = MOST_BYTES,
    advice: str = "",
) -> T:
    """Read a JSON file whose content must fit a type.

    Args:
        path: The file, in UTF-8 with or without a byte-order mark.
        kind: A `Schema`, or any type that msgspec understands, such as `dict[str, Any]`.
        error: Raised where the file cannot be used.
        most_bytes: A larger file is refused before it is read.
        advice: The end of the error: a mark such as a colon, and what the user can do.

    Returns:
        The content, as an instance of `kind`.

    Raises:
        PopsError: Of the type `error`. The file is missing, too large, no JSON, or does not fit.
    """
    content = read_bytes(path, error, most_bytes, advice)
    return decode_json(content, kind, error, str(path), advice)


def write_json(path: str | Path, value: object, indent: int | None = 2) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: The file, in UTF-8.
        value: The content: a `Schema`, or what JSON holds.
        indent: The spaces by which each level is indented; None writes a single line.

    Raises:
        OutputError: The file cannot be written, or would hold what cannot be read back: the name
            of a file that is not UTF-8.
    """
    plain = msgspec.to_builtins(value)
    try:
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError as odd:
        there = odd.object[max(0, odd.start - 60) : odd.end + 60]
        raise OutputError(
            f"cannot write {path}: a name in it is not UTF-8, at {ascii(there)}: rename that file"
        ) from odd
    content = json.dumps(plain, indent=indent, allow_nan=False)
    with atomic_path(path) as part:
        part.write_text(content + "\n", encoding="utf-8")


def read_text(
    path: str | Path, error: type[PopsError], most_bytes: int = MOST_BYTES, advice: str = ""
) -> str:
    """Read a text file in UTF-8, with or without a byte-order mark.

    Args:
        path: The file.
        error: Raised where the file cannot be used.
        most_bytes: A larger file is refused before it is read.
        advice: The end of the error: a mark such as a colon, and what the user can do.

    Returns:
        The text, without the mark and with `\\n` at the end of its lines.

    Raises:
        PopsError: Of the type `error`. The file is missing, too large, or in another encoding.
    """
    content = read_bytes(path, error, most_bytes, advice)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise error(f"{path} is not UTF-8 text: save it as UTF-8{advice}") from wrong
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(
    path: str | Path, error: type[PopsError], most_bytes: int = MOST_BYTES
) -> tuple[str, ...]:
    """Read the entries of a text file, without blank lines and lines that begin with #.

    Args:
        path: The file, in UTF-8 with or without a byte-order mark.
        error: Raised where the file cannot be used.
        most_bytes: A larger file is refused before it is read.

    Returns:
        The entries in order, without the spaces around them.

    Raises:
        PopsError: Of the type `error`. The file is missing, too large, or in another encoding.
    """
    stripped = (line.strip() for line in read_text(path, error, most_bytes).split("\n"))
    return tuple(line for line in stripped if line and not line.startswith("#"))


def read_bytes(
    path: str | Path, error: type[PopsError], most_bytes: int = MOST_BYTES, advice: str = ""
) -> bytes:
    """Read a regular file of a bounded size.

    Args:
        path: The file.
        error: Raised where the file cannot be used.
        most_bytes: A larger file is refused before it is read.
        advice: The end of the error: a mark such as a colon, and what the user can do.

    Returns:
        The whole content.

    Raises:
        PopsError: Of the type `error`. The file is missing, too large or cannot be read.
    """
    path = Path(path)
    check_file(path, error, advice)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as wrong:
        raise error(f"cannot read {path}: {reason_of(wrong)}{advice}") from wrong
    if len(content) > most_bytes:
        raise error(f"{path} is too large: such a file has at most {most_bytes:,} bytes{advice}")
    return content


def decode_json(
    content: bytes | str, kind: type[T], error: type[PopsError], source: str, advice: str = ""
) -> T:
    """Decode JSON whose content must fit a type.

    Args:
        content: The JSON text; a byte-order mark is skipped.
        kind: A `Schema`, or any type that msgspec understands.
        error: Raised where the content cannot be used.
        source: Names the content in the error, such as a path, or a path and a line.
        advice: The end of the error: a mark such as a colon, and what the user can do.

    Returns:
        The content, as an instance of `kind`.

    Raises:
        PopsError: Of the type `error`, naming `source` and the field.
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    with _refusing(error, source, advice):
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=kind)


def fit(value: Any, kind: type[T], error: type[PopsError], source: str, advice: str = "") -> T:
    """Check that plain values, such as YAML or a loaded state, fit a type.

    Args:
        value: Dictionaries, lists, texts, numbers and None.
        kind: A `Schema`, or any type that msgspec understands.
        error: Raised where the value does not fit.
        source: Names the value in the error.
        advice: The end of the error: a mark such as a colon, and what the user can do.

    Returns:
        The value, as an instance of `kind`.

    Raises:
        PopsError: Of the type `error`, naming `source` and the field.
    """
    with _refusing(error, source, advice):
        return msgspec.convert(value, type=kind, str_keys=True)


@contextmanager
def _refusing(error: type[PopsError], source: str, advice: str) -> Iterator[None]:
    try:
        yield
    except msgspec.ValidationError as wrong:
        fault, _, place = str(wrong).partition(" - at `")
        key, _, place = place.rpartition("` in `")  # a key of a dictionary, and its place
        field = place.rstrip("`").removeprefix("$").removeprefix(".")
        field = f"a key of {field}" if key else field
        fault = fault.removeprefix("Object contains ").removeprefix("Object ")
        fault = fault.replace("`", "'" if "field" in fault else "")
        raise error(f"{source}: {f'{field}: ' * bool(field)}{fault}{advice}") from wrong
    except (msgspec.DecodeError, UnicodeError) as wrong:
        raise error(f"{source}: is damaged or is not JSON ({wrong}){advice}") from wrong
    except (RecursionError, MemoryError) as wrong:
        raise error(f"{source}: is nested too deeply{advice}") from wrong


# --- the small files of pops -------------------------------------------------------------------

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Slots = Annotated[int, Meta(ge=0, le=64)]
# The name of a module of a model, or the end of one: no regular expression.
ModuleName = Annotated[str, Meta(max_length=200, pattern=r"^\w+(\.\w+)*\Z")]


class OperatorRow(Schema):
    """The operator of `operator.json`; the defaults are those of `Operator`."""

    name: PlainName
    inputs: Annotated[tuple[Name, ...], Meta(max_length=64)]
    takes_text: bool = False
    min_inputs: Slots | None = None
    guidance: Finite = 1.0
    drop_each: Share = 0.0
    drop_all: Share = 0.0
    text_loss: Finite = 0.0


class OperatorFile(Schema):
    """`operator.json` of an operator folder."""

    operator: OperatorRow
    stack: Name
    training: dict[Name, Any]


class RenderFile(Schema):
    """`render.json` of a stack's decoder."""

    steps: Annotated[int, Meta(ge=1, le=1000)] = 50
    guidance: Annotated[float, Meta(ge=0, le=1000)] = 4.0
    size: Annotated[int, Meta(ge=1, le=8192)] = 512
    # The sizes that it was trained to draw; others are scaled. Empty: it draws any.
    sizes: Annotated[tuple[Annotated[int, Meta(ge=1, le=8192)], ...], Meta(max_length=64)] = ()
    renderer: Name = "kandinsky"  # the renderer whose models the decoder holds


class AdapterFile(Schema):
    """The part of an `adapter_config.json` that is used: names of modules and four numbers."""

    target_modules: Annotated[tuple[ModuleName, ...], Meta(min_length=1, max_length=1000)]
    r: Annotated[int, Meta(ge=1, le=4096)]
    lora_alpha: Annotated[float, Meta(gt=0, le=1e6)]
    lora_dropout: Share = 0.0
    use_rslora: bool = False
