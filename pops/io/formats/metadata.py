"""Tell a picture from what stands beside it in its file: profiles, texts, tags of cameras.

Viewers show a picture whatever stands beside it; the readers of Pillow stop at some of it.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import ExifTags

__all__ = ["orientation_of", "without_metadata"]

# Of a PNG file: its first bytes, the chunks of its pixels, and those that show beside them.
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_BESIDE = (b"tRNS", b"eXIf")  # transparency and orientation
_CLEAR = {b"\0": (2,), b"\2": (6,), b"\3": range(1, 257)}  # the bytes of tRNS, by kind of colour
_MOST_KEPT = 2**30  # bytes: more than any picture within the limit of pixels has
_MOST_CHUNKS = 100_000
_LONGEST_BESIDE = 2**20

# Of a JPEG file: its first bytes, the marker before its pixels, and, of the segments that libraries
# add, those that say how the pixels are stored or turned: their beginning and their least length.
_JPEG = b"\xff\xd8"
_PIXELS_FOLLOW = 0xDA
_ADDED = (*range(0xE0, 0xF0), 0xFE)
_KEPT = ((0xE0, b"JFIF\0", 14), (0xE1, b"Exif\0\0", 14), (0xEE, b"Adobe", 12))


def without_metadata(path: Path) -> bytes | None:
    """Copy a PNG or JPEG file without what is not needed to show it.

    Args:
        path: A file of any kind.

    Returns:
        The content of a file of the same pixels; None where it is of another kind, or its parts
        cannot be told apart.
    """
    with path.open("rb") as file:
        head = file.read(len(_SIGNATURE))
        if head == _SIGNATURE:
            return _plain_png(file)
        return _plain_jpeg(file) if head.startswith(_JPEG) else None


def _plain_png(file: BinaryIO) -> bytes | None:
    """Give the same PNG without what is not needed to show it; None if it is vast.

    A PNG file is a row of chunks, each with a checksum. Colour profiles, texts and unknown chunks
    are left out unread; so are transparency and orientation where their checksum or their length
    is wrong, as viewers do.
    """
    kept, room, colours = [_SIGNATURE], _MOST_KEPT, b""
    file.seek(len(_SIGNATURE))
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind in _PIXELS or (kind in _BESIDE and length <= _LONGEST_BESIDE):
            if length > room:
                return None
            body = file.read(length + 4)  # with its checksum
            room -= length
            colours = body[9:10] if kind == b"IHDR" else colours
            whole = zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:])
            fits = kind != b"tRNS" or length in _CLEAR.get(colours, ())
            if kind in _PIXELS or (whole and fits):
                kept.append(head + body)
        else:
            file.seek(length + 4, 1)
        if kind == b"IEND":
            break
    return b"".join(kept)


def _plain_jpeg(file: BinaryIO) -> bytes | None:
    """Give the same JPEG without what is not needed to show it; None if it is damaged or vast.

    A JPEG file is a row of segments, each with its length, and then the pixels.
    """
    file.seek(0)
    content = file.read(_MOST_KEPT + 1)
    kept, at = [_JPEG], len(_JPEG)
    while at + 4 <= len(content) <= _MOST_KEPT and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a byte that fills
            at += 1
            continue
        if marker == _PIXELS_FOLLOW:
            return b"".join([*kept, content[at:]])
        body = content[at + 4 : at + 2 + length]
        known = any(
            marker == own and body.startswith(begin) and len(body) >= least
            for own, begin, least in _KEPT
        )
        if known or marker not in _ADDED:
            kept.append(content[at : at + 2 + length])
        at += 2 + length
    return None


def orientation_of(exif: bytes) -> int | None:
    """Read the orientation alone, whatever the tags before and after it hold.

    Args:
        exif: A directory of EXIF tags, which are 12 bytes each.

    Returns:
        The value of the tag; None where the directory has none.
    """
    body = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if body[:2] == b"II" else "big"
    start = int.from_bytes(body[4:8], order)
    count = int.from_bytes(body[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(body) - 11), 12):
        if int.from_bytes(body[at : at + 2], order) == ExifTags.Base.Orientation:
            return int.from_bytes(body[at + 8 : at + 10], order)
    return None
