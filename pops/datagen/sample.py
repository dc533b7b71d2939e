"""What a script gives: the files of one record, or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["Content", "Rejected", "Sample", "Script", "encode", "play"]

Content = Image.Image | np.ndarray | list[Any] | dict[str, Any] | bytes


class Rejected(Exception):
    """What the models made does not fit; the message is the reason, few and short."""


@dataclass(frozen=True)
class Sample:
    """One record: its name, its files in the order they appear in the folder, and its facts.

    `files`: path in the output folder -> picture (.jpg, .png), array (.npy), plain data (.json),
    or bytes that are encoded already.
    Readers look for the last one, so that it stands for the whole.
    """

    name: str
    files: Mapping[str, Content]
    facts: dict[str, Any] = field(default_factory=dict)

    def encoded(self) -> Sample:
        """The same with its files as bytes."""
        files = {path: encode(path, content) for path, content in self.files.items()}
        return replace(self, files=files)


# A script yields requests of one stage and is sent their answers; it returns its record.
Script = Generator[list[Any], list[Any], Sample]


def play(script: Script, answers: Iterable[list[Any]]) -> list[Any] | Sample:
    """What a script asks after these answers, or its record where it ends with them.

    Raises:
        Rejected: the last answers do not fit.
    """
    try:
        asked = next(script)
        for some in answers:
            asked = script.send(some)
    except StopIteration as end:
        sample: Sample = end.value
        return sample
    return asked


def encode(path: str, content: Content) -> bytes:
    """A file's bytes, in the format of its suffix; JPEG at quality 95 with all its colour."""
    if isinstance(content, bytes):
        return content
    suffix = PurePosixPath(path).suffix
    out = BytesIO()
    if isinstance(content, Image.Image):
        if suffix == ".jpg":
            content.save(out, "JPEG", quality=95, subsampling=0)
        else:
            content.save(out, "PNG", compress_level=3)
        return out.getvalue()
    if isinstance(content, np.ndarray):
        np.save(out, content)
        return out.getvalue()
    return json.dumps(content).encode()
