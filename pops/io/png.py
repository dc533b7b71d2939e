"""Read a PNG as viewers do: what stands beside the pixels may be large, damaged or unknown."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

__all__ = ["without_extras"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
BESIDE = (b"tRNS", b"eXIf")  # transparency and orientation
MOST_KEPT = 2**30  # bytes: more than any picture within the limit of pixels has
MOST_CHUNKS = 100_000
LONGEST_BESIDE = 2**20


def without_extras(path: Path) -> bytes | None:
    """Copy a PNG file without what is not needed to show it.

    A PNG file is a row of chunks, each with a checksum. Colour profiles, texts and unknown chunks
    are left out unread; so are transparency and orientation where their checksum is wrong, as
    viewers do.

    Args:
        path: A file of any kind.

    Returns:
        The content of a PNG file of the same pixels, or None where `path` is no PNG or its chunks
        cannot be told apart.
    """
    kept, room = [SIGNATURE], MOST_KEPT
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return None
        for _ in range(MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                break
            length, kind = struct.unpack(">I4s", head)
            if kind in PIXELS or (kind in BESIDE and length <= LONGEST_BESIDE):
                if length > room:
                    return None
                body = file.read(length + 4)  # with its checksum
                room -= length
                if kind in PIXELS or zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:]):
                    kept.append(head + body)
            else:
                file.seek(length + 4, 1)
            if kind == b"IEND":
                break
    return b"".join(kept)
