"""Array files of numpy (`.npy`), checked against their own header before they are read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pops.errors import InputError, PopsError
from pops.io.files import atomic_path, check_file

__all__ = ["read_array", "save_array"]

MOST_BYTES = 2**32  # of an array that is read into memory
NUMBERS = "buif"  # kinds of numpy: booleans, whole numbers, numbers with a fraction


def read_array(
    path: Path, *, mapped: bool = False, error: type[PopsError] = InputError, advice: str = ""
) -> np.ndarray:
    """Read an array of numbers.

    No code in the file can run, and a header that promises more than the file holds is refused
    before any memory is taken.

    Args:
        path: A `.npy` file.
        mapped: Whether the array stays in the file and is read as it is used.
        error: The exception that is raised when the file cannot be used.
        advice: What the user can do, for the end of the message.

    Returns:
        The array, in its own shape and kind.

    Raises:
        PopsError: The file cannot be read, is not an array of numbers, or is not as large as its
            header says; of the type `error`.
    """
    check_file(path, error, advice)
    try:
        with path.open("rb") as file:
            promised = _checked_bytes(file, math.inf if mapped else MOST_BYTES)
        if mapped and promised:  # an empty array cannot be mapped
            return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception as fault:  # numpy raises almost anything on a damaged header
        reason = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise error(f"{path}: cannot be read as an array ({reason}){advice}") from fault


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array, whole or not at all.

    Args:
        path: The `.npy` file.
        array: The array.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        np.save(file, array)


def _checked_bytes(file: BinaryIO, most: float) -> int:
    """Count the bytes of an array; ValueError unless they are numbers, there, and not too many."""
    shape, kind = _header(file)
    promised, there = kind.itemsize * int(np.prod(shape, dtype=object)), _left(file)
    if kind.kind not in NUMBERS:
        raise ValueError(f"it holds {kind}, not numbers")
    if promised != there:
        raise ValueError(f"its header promises {promised} bytes, but it holds {there}")
    if promised > most:
        raise ValueError(f"it holds more than {most:,} bytes")
    return promised


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and the kind of numbers from the header of an array file."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, kind = np.lib.format.read_array_header_2_0(file)
    if any(length < 0 for length in shape):
        raise ValueError(f"it has a negative length in {shape}")
    return shape, kind


def _left(file: BinaryIO) -> int:
    """Count the bytes from here to the end of a file."""
    here = file.tell()
    return file.seek(0, 2) - here
