"""Write files and folders that are whole or absent: made in a hidden folder, then moved.

The hidden folder stands beside the result, and the process that writes holds a lock in it. The
system releases the lock of a process that dies, so the next one that writes there can tell what is
left behind from what is being written, and removes it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pops.errors import OutputError, PopsError, UsageError
from pops.io.names import EMBEDDING_SUFFIXES, can_be_path

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "EMBEDDING_SUFFIXES",
    "atomic_path",
    "check_apart",
    "check_file",
    "folder_lock",
    "make_folder",
    "new_folder",
    "reason_of",
    "remove_leftovers",
    "staged_folder",
]

HIDDEN = ".pops-"  # begins the names of the folders that results are made in
LOCK = "lock"
TRIES = 10
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_file(path: Path, error: type[PopsError], advice: str = "") -> None:
    """Check that a path leads to a regular file that may be read.

    Args:
        path: Any path, also one that the system cannot have.
        error: Raised where the file cannot be used.
        advice: The end of the error: a mark such as a colon, and what the user can do.

    Raises:
        PopsError: Of the type `error`. The file is missing, is a folder or the like, or may not be
            read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise error(f"{path} is {kind}{advice}")
        with path.open("rb"):
            return
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise error(f"{path} is missing{advice}") from missing
    except (OSError, ValueError) as wrong:
        raise error(f"cannot read {path}: {reason_of(wrong)}{advice}") from wrong


def check_apart(flag: str, out: Path, folder: str | Path, *, inside: bool = True) -> None:
    """Check that results do not go among the files that they are made of.

    There they would be taken for such files the next time.

    Args:
        flag: the flag of the folder of results.
        out: the folder of results, which need not exist.
        folder: the folder of files that are read.
        inside: whether folders in it are read, too.

    Raises:
        UsageError: `out` is that folder, or inside of it where that matters.
    """
    place, home = Path(os.path.realpath(out)), Path(os.path.realpath(folder))
    if place == home or (inside and home in place.parents):
        where = "is" if place == home else "is inside"
        raise UsageError(
            f"--{flag} {out} {where} a folder that is read, {folder}: name another folder"
        )


def reason_of(error: OSError | ValueError) -> str:
    """Say in a few small letters why the system refuses a file.

    Args:
        error: The system's own error; a ValueError where a path holds what no path can.

    Returns:
        The reason, such as `permission denied`.
    """
    if isinstance(error, ValueError):
        return "no file can have such a name"
    return (error.strerror or str(error)).lower()


@contextmanager
def atomic_path(path: str | Path, suffix: str | None = None) -> Iterator[Path]:
    """Give a temporary path, which replaces `path` when the block ends well.

        with atomic_path("out/mug.safetensors") as part:
            save_file(tensors, part)

    Args:
        path: The file to write.
        suffix: The ending of the temporary path, such as one that nobody looks for; that of
            `path` unless given.

    Yields:
        The path of an empty file, to be written in the block.

    Raises:
        OutputError: The folder is missing or cannot be written. Whatever goes wrong, `path` is
            left as it was and the temporary file is removed.
    """
    path = Path(path)
    if not can_be_path(path):
        raise OutputError(f"cannot write {path}: no file can have such a name; choose another")
    with suppress(OSError):  # writing will fail for the same reason, and say so
        if path.is_dir():
            raise OutputError(f"{path} is a folder: name a file to write into")
    with _work_folder(path.parent, path) as folder:
        part = folder / f"part{path.suffix if suffix is None else suffix}"
        try:
            part.touch()
            mode = part.stat().st_mode  # a library may put a file of its own there, for its owner
            yield part
            part.chmod(mode)
            part.replace(path)
        except OSError as error:
            raise OutputError(_cannot_write(path, error)) from error


def make_folder(path: str | Path) -> Path:
    """Make a folder and its parents where they are missing.

    Args:
        path: The folder.

    Returns:
        The same folder, as a path.

    Raises:
        OutputError: A part of `path` is a file, or may not be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(_cannot_write(path, error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {path}: permission denied; choose another folder")
    return path


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder for a block; after it, the folders that were made and are empty go again.

    So a command that is refused, whatever the reason, leaves no empty folder behind.

    Args:
        path: The folder.

    Yields:
        The same folder, as a path.

    Raises:
        OutputError: A part of `path` is a file, or may not be written.
    """
    made = _missing(Path(path))
    try:
        yield make_folder(path)
    finally:
        for folder in made:
            with suppress(OSError, ValueError):  # it is not empty, or was never made
                folder.rmdir()


def _missing(path: Path) -> list[Path]:
    """List a folder and its parents as far as they are missing, the folder first."""
    try:
        return [folder for folder in (path, *path.parents) if not folder.exists()]
    except (OSError, ValueError):  # making it will fail for the same reason, and say so
        return []


@contextmanager
def staged_folder(path: str | Path) -> Iterator[Path]:
    """Give a hidden folder inside `path`, whose files move into `path` when the block ends well.

    Files of the same name are replaced. Whatever goes wrong before, `path` is left as it was: it
    and its parents are removed again where they were made here.

    Args:
        path: The folder to write into; it is made where it is missing.

    Yields:
        An empty folder, to be filled in the block.

    Raises:
        OutputError: `path` cannot be made or written, or one of its files cannot be replaced.
    """
    with new_folder(path) as folder, _work_folder(folder, folder) as stage:
        try:
            yield stage
        except OutputError as error:  # names the hidden folder
            raise OutputError(str(error).replace(str(stage), str(folder))) from error
        except OSError as error:  # of a library that does not say which file
            if error.errno not in NO_ROOM:
                raise
            raise OutputError(_cannot_write(folder, error)) from error
        _move_files(stage, folder)


@contextmanager
def _work_folder(parent: Path, result: Path) -> Iterator[Path]:
    """Make an empty folder inside a hidden one of `parent`, which is held and then removed.

    OutputError, naming the `result`, where it cannot be made.
    """
    try:
        remove_leftovers(parent)
        hidden, lock = _hold_folder(parent)
    except (OSError, ValueError) as error:
        raise OutputError(_cannot_write(result, error)) from error
    try:
        yield hidden / "files"
    finally:
        if lock is not None:
            lock.release()
        shutil.rmtree(hidden, ignore_errors=True)


def _hold_folder(parent: Path) -> tuple[Path, BaseFileLock | None]:
    """Make a hidden folder and lock it; without a lock where the file system has none.

    Between the two, another process may take the folder for one that was left behind.
    """
    from filelock import FileLock, Timeout

    for _ in range(TRIES):
        hidden = Path(tempfile.mkdtemp(dir=parent, prefix=HIDDEN))
        lock = FileLock(hidden / LOCK, timeout=0)
        held = False
        try:
            lock.acquire()
            held = True
            (hidden / "files").mkdir()
        except (Timeout, FileNotFoundError):
            lock.release()
            continue
        except (OSError, NotImplementedError):
            if held:
                raise
            (hidden / "files").mkdir()
        return hidden, lock if held else None
    raise OSError(None, f"other processes remove what is made in {parent}")


@cache  # once for each folder
def remove_leftovers(parent: Path) -> None:
    """Remove what processes that died have left in a folder, once in the life of this process.

    Args:
        parent: The folder, which need not exist. What living processes write there stays.
    """
    from filelock import FileLock, Timeout

    for hidden in parent.glob(f"{HIDDEN}*"):
        # A lock that is held, or that cannot be had here, leaves the folder as it is.
        with suppress(Timeout, OSError, NotImplementedError):
            with FileLock(hidden / LOCK, timeout=0):
                shutil.rmtree(hidden, ignore_errors=True)
            if hidden.exists():  # on Windows: an open file cannot be removed
                (hidden / LOCK).unlink(missing_ok=True)
                hidden.rmdir()


def _move_files(stage: Path, path: Path) -> None:
    for file in sorted(stage.iterdir()):
        try:
            file.replace(path / file.name)
        except OSError as error:
            raise OutputError(_cannot_write(path / file.name, error)) from error


def _cannot_write(path: Path, error: OSError | ValueError) -> str:
    return f"cannot write {path}: {reason_of(error)}; choose another place or make room"


@contextmanager
def folder_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Hold a folder alone inside the block.

    The operating system releases the lock when the process ends, however it ends, so that no lock
    is ever left behind. The empty lock file stays, unless the folder holds nothing else: such a
    folder is left as it was, or goes again where it was made here.

    Args:
        folder: The folder, which is made where it is missing.
        name: The name of the lock file. Runs that may work beside each other use different names.

    Yields:
        Nothing; the lock is held inside the block.

    Raises:
        UsageError: Another run holds the lock.
        OutputError: The lock file cannot be written.
    """
    from filelock import FileLock, Timeout

    with new_folder(folder):
        path = folder / name
        lock = FileLock(path, blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"another run is at work in {folder}: wait for it, or name another folder"
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(
                f"cannot write {path}: {reason.lower()}; choose another folder"
            ) from error
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is open
                if list(folder.iterdir()) == [path]:
                    path.unlink()  # while held: whoever waits for it makes a new one
            lock.release()
