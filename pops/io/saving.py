"""Saving: the errors of libraries that write files, as one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from pops.errors import OutputError

__all__ = ["saving"]


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn any error of a library that writes a file into one line that names the file.

    Args:
        path: The file that is written inside the block.

    Raises:
        OutputError: The file cannot be written, most often for lack of room.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(_cannot_write(path, error.strerror or str(error))) from error
    except (SafetensorError, RuntimeError) as error:  # of safetensors and of torch.save
        raise OutputError(_cannot_write(path, str(error))) from error


def _cannot_write(path: Path, reason: str) -> str:
    first = (reason.strip() or "it is not known why").splitlines()[0][:200]
    return f"cannot write {path}: {first[0].lower()}{first[1:]}; make room or choose another place"
