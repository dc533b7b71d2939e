"""Saving: what goes wrong while a file is written, and what killed runs leave behind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from pops.errors import OutputError

__all__ = ["remove_leftovers", "saving"]

# The names that `tempfile` gives to the temporary files of `pops.io.files.atomic_path`.
LEFTOVER = re.compile(r"\..*-[a-z0-9_]{8}(\.\w+)?")


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


def remove_leftovers(folder: Path, stems: Iterable[str]) -> None:
    """Remove the temporary files of runs that were killed while they wrote into a folder.

    Only to be called by a run that holds the folder alone.

    Args:
        folder: The folder, which need not exist.
        stems: Names, without their suffix, of the files that such runs write by
            `pops.io.files.atomic_path`; * stands for any text.
    """
    for stem in stems:
        for path in folder.glob(f".{stem}-*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)
