"""Locks on folders, so that two runs never write into one at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pops.errors import OutputError, UsageError
from pops.io.files import make_folder

__all__ = ["folder_lock"]


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
