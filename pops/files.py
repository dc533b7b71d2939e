"""Files that are either whole or absent: written beside their place, then renamed into it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pops.errors import OutputError

__all__ = ["atomic_path", "make_folder"]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, renamed to `path` when the block ends well.

        with atomic_path("out/mug.safetensors") as part:
            save_file(tensors, part)

    Raises:
        OutputError: the folder is missing or cannot be written. Whatever goes wrong, `path`
            is left as it was and the temporary file is removed.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file to write")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # mkstemp makes private files
        part.replace(path)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    finally:
        part.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """Make `path` and its parents where they are missing.

    Raises:
        OutputError: a part of `path` is a file, or may not be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write into {path}: permission denied; choose another folder")
    return path


def _cannot_write(path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"cannot write {path}: {reason}; choose another place or make room"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
