"""Files that are either whole or absent: written beside their place, then renamed into it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pops.errors import OutputError
from pops.io.suffixes import EMBEDDING_SUFFIXES

__all__ = ["EMBEDDING_SUFFIXES", "atomic_path", "make_folder", "staged_folder"]


@contextmanager
def atomic_path(path: str | Path, suffix: str | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` when the block ends well.

    It has the suffix of `path` unless another is given, such as one that nobody looks for.

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
        handle, name = tempfile.mkstemp(
            dir=path.parent,
            prefix=f".{path.stem[:40]}-",
            suffix=path.suffix if suffix is None else suffix,
        )
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


@contextmanager
def staged_folder(path: str | Path) -> Iterator[Path]:
    """A hidden folder inside `path`, whose files move into `path` when the block ends well.

    Files of the same name are replaced. Whatever goes wrong before, `path` is left as it was:
    it and its parents are removed again where they were made here.

    Raises:
        OutputError: at once, if `path` cannot be made or written; at the end, if a file of
            `path` cannot be replaced.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    stage = None
    try:
        stage = _hidden_folder(make_folder(path))
        yield stage
        _move_files(stage, path)
    finally:
        if stage:
            shutil.rmtree(stage, ignore_errors=True)
        for folder in made:  # succeeds only where nothing was put in
            with suppress(OSError):
                folder.rmdir()


def _hidden_folder(path: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(dir=path, prefix=".pops-"))
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error


def _move_files(stage: Path, path: Path) -> None:
    for file in sorted(stage.iterdir()):
        try:
            file.replace(path / file.name)
        except OSError as error:
            raise OutputError(_cannot_write(path / file.name, error)) from error


def _cannot_write(path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"cannot write {path}: {reason}; choose another place or make room"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
