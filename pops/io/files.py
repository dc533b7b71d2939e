"""Write files and folders that are whole or absent: made in a hidden folder, then moved.

The hidden folder stands beside the result, and the process that writes holds a lock in it. The
system releases the lock of a process that dies, so the next one that writes there can tell what is
left behind from what is being written, and removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pops.errors import OutputError, UsageError
from pops.io.names import EMBEDDING_SUFFIXES

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "EMBEDDING_SUFFIXES",
    "atomic_path",
    "folder_lock",
    "make_folder",
    "remove_leftovers",
    "staged_folder",
]

HIDDEN = ".pops-"  # begins the names of the folders that results are made in
LOCK = "lock"
TRIES = 10


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
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file to write")
    with _work_folder(path.parent, path) as folder:
        part = folder / f"part{path.suffix if suffix is None else suffix}"
        try:
            part.touch()
            yield part
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
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {path}: permission denied; choose another folder")
    return path


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
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        make_folder(path)
        with _work_folder(path, path) as stage:
            yield stage
            _move_files(stage, path)
    finally:
        for folder in made:  # succeeds only where nothing was put in
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _work_folder(parent: Path, result: Path) -> Iterator[Path]:
    """An empty folder inside a hidden one of `parent`, which is held, and gone after the block.

    OutputError, naming the `result`, where it cannot be made.
    """
    remove_leftovers(parent)
    try:
        hidden, lock = _hold_folder(parent)
    except OSError as error:
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
            if hidden.exists():  # where a file that is open cannot be removed
                (hidden / LOCK).unlink(missing_ok=True)
                hidden.rmdir()


def _move_files(stage: Path, path: Path) -> None:
    for file in sorted(stage.iterdir()):
        try:
            file.replace(path / file.name)
        except OSError as error:
            raise OutputError(_cannot_write(path / file.name, error)) from error


def _cannot_write(path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"cannot write {path}: {reason}; choose another place or make room"


@contextmanager
def folder_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Hold a folder alone inside the block.

    The operating system releases the lock when the process ends, however it ends, so that no lock
    is ever left behind; the empty lock file stays.

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

    path = make_folder(folder) / name
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"another run is at work in {folder}: wait for it, or name another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot write {path}: {reason.lower()}") from error
    try:
        yield
    finally:
        lock.release()
