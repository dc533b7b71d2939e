"""Names of files: those of outputs, which every file system takes, and the endings of inputs."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from pops.errors import OutputError

__all__ = [
    "EMBEDDING_SUFFIXES",
    "PICTURE_SUFFIXES",
    "can_be_path",
    "check_name",
    "distinct_names",
    "expand_home",
    "input_suffixes",
    "is_embedding_file",
    "name_of_words",
    "safe_name",
    "shown_files",
]

EMBEDDING_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ipadpt", ".npy", ".npz")
_SHARED_SUFFIXES = (".bin", ".npy", ".npz")  # of embeddings and of any other array
# Those that Pillow has for the kinds of picture that `open_picture` reads; a test compares them.
PICTURE_SUFFIXES = (
    ".apng",
    ".avif",
    ".avifs",
    ".bmp",
    ".gif",
    ".j2c",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpc",
    ".jpe",
    ".jpeg",
    ".jpf",
    ".jpg",
    ".jpx",
    ".pbm",
    ".pfm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

LONGEST_NAME = 150  # bytes; file systems hold 255, and endings with seeds come after it
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # of Windows
_REFUSED = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]+')  # by some file system


def expand_home(path: str | Path) -> Path:
    """Put the home folder in the place of a leading `~`, as a shell does.

    `Path.expanduser` raises RuntimeError for a user that does not exist; a shell leaves such a name
    as it is, and so does this.

    Args:
        path: a path, `~/pictures` for instance.

    Returns:
        The path with `~` or `~user` expanded, or as it is where there is no such user.
    """
    try:
        return Path(os.path.expanduser(path))
    except ValueError:  # no user has such a name, with a NUL for instance
        return Path(path)


def can_be_path(path: str | Path) -> bool:
    """Tell whether the system can have a file of such a path, which need not be there.

    A NUL, a name of thousands of letters or one that no encoding holds makes almost every call to
    the system fail, each in a way of its own; so a path is looked at once, where it comes in.

    Args:
        path: any text.

    Returns:
        Whether it can be a path on this system.
    """
    try:
        os.lstat(path)
    except ValueError:  # a NUL, or a letter that no file name can hold
        return False
    except OSError as error:
        return error.errno not in (errno.ENAMETOOLONG, errno.EINVAL)
    return True


def safe_name(name: str, apart_by: str | None = None) -> str:
    """Make a name that every file system takes.

    The name is brought into composed form (NFC), letters that file systems refuse become `-`, one
    that Windows keeps for a device is set apart by a leading `_`, and one that is too long is cut
    by bytes and ends in a hash of the whole.

    Args:
        name: any text.
        apart_by: what tells this name from an equal one, of which the name then ends in a hash.

    Returns:
        A name without ending, of at most `LONGEST_NAME` bytes and never empty.
    """
    plain = unicodedata.normalize("NFC", name)
    safe = _REFUSED.sub("-", plain).strip(" .") or _hash(plain)
    safe = f"_{safe}" if _DEVICES.match(safe) else safe
    if apart_by is None and len(safe.encode()) <= LONGEST_NAME:
        return safe
    room = LONGEST_NAME - 9  # for the hash and its hyphen
    short = safe.encode()[:room].decode(errors="ignore").rstrip(" .")
    return f"{short}-{_hash(plain if apart_by is None else apart_by)}"


def name_of_words(words: Iterable[str]) -> str:
    """Make one name of several words, such as an operator and the names of its inputs.

    Letters, marks and digits of every script are kept, what lies between them becomes `-`, and the
    words are joined by `_`. A word of which nothing would be left is given by a hash of it.

    Args:
        words: any texts; empty ones are passed over.

    Returns:
        A name without ending, of at most `LONGEST_NAME` bytes.
    """
    return safe_name("_".join(_plain_word(word) for word in words if word))


def distinct_names(names: Sequence[str]) -> list[str]:
    """Number names that are equal but for case, which some file systems do not tell apart.

    Args:
        names: names without ending.

    Returns:
        The same names in order; the second of its kind ends in `-2`, and so on.
    """
    taken: set[str] = set()
    distinct: list[str] = []
    for name in names:
        made, number = name, 1
        while made.casefold() in taken:
            number += 1
            made = f"{name}-{number}"
        taken.add(made.casefold())
        distinct.append(made)
    return distinct


def check_name(folder: Path, name: str) -> None:
    """Check that a folder takes a file of a name, before work is spent on its content.

    Args:
        folder: an existing folder.
        name: the name of a file that is not there.

    Raises:
        OutputError: the file system refuses the name.
    """
    path = folder / name
    try:
        path.touch()
        path.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {path}: {reason}; choose another folder") from error


def _plain_word(word: str) -> str:
    composed = unicodedata.normalize("NFC", word)
    letters = (letter if _is_kept(letter) else " " for letter in composed)
    plain = "-".join("".join(letters).split()).strip("-.")
    return (
        plain if any(_is_kept(letter) and letter not in "_-." for letter in plain) else _hash(word)
    )


def _is_kept(letter: str) -> bool:
    return letter in "_-." or unicodedata.category(letter)[0] in "LMN"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def shown_files(paths: Iterable[Path]) -> list[Path]:
    """Sort the paths that are not hidden.

    Systems leave hidden files beside those that they copy, under like names: `._cat.png` beside
    `cat.png`, which is not a picture.

    Args:
        paths: any paths.

    Returns:
        Those whose name does not begin with a dot, in order.
    """
    return sorted(path for path in paths if not path.name.startswith("."))


def input_suffixes() -> tuple[str, ...]:
    """List the endings, with their dot and in small letters, of the files of a folder of inputs.

    Endings that other kinds of array bear as often, such as the masks beside generated pictures,
    are left out: such a file is an input where it is named, or where its ending is.

    Returns:
        The endings of pictures, and then those that embedding files alone have.
    """
    own = (suffix for suffix in EMBEDDING_SUFFIXES if suffix not in _SHARED_SUFFIXES)
    return (*PICTURE_SUFFIXES, *own)


def is_embedding_file(path: str | Path) -> bool:
    """Tell whether a file holds embeddings by its name, in large or small letters.

    Args:
        path: A path, whether there is a file or not.

    Returns:
        True where the name ends as an embedding file does.
    """
    return Path(path).suffix.lower() in EMBEDDING_SUFFIXES
