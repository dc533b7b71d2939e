"""The result of a script: the files of one record, or the reason why there is none."""

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
    """Raised by a script when the models' answers do not fit. The message is a short reason."""


@dataclass(frozen=True)
class Sample:
    """One record: its name, its files, and its facts for the manifest."""

    name: str
    # By path in the output folder: a picture (.jpg, .png), an array (.npy), plain data (.json), or
    # bytes. They appear in this order; readers look for the last, which stands for the whole.
    files: Mapping[str, Content]
    facts: dict[str, Any] = field(default_factory=dict)

    def encoded(self) -> Sample:
        """Encode the files.

        Returns:
            The same sample with its files as bytes.
        """
        files = {path: encode(path, content) for path, content in self.files.items()}
        return replace(self, files=files)


# A script yields requests of one stage and is sent their answers; it returns its record.
Script = Generator[list[Any], list[Any], Sample]


def play(script: Script, answers: Iterable[list[Any]]) -> list[Any] | Sample:
    """Run a script from its beginning with some answers.

    Args:
        script: A script that was not started.
        answers: The answers to each of its questions so far.

    Returns:
        The requests that it makes next, or its sample where it ends.

    Raises:
        Rejected: The last answers do not fit.
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
    """Encode a file in the format of its suffix; JPEG at quality 95 with full colour.

    Args:
        path: Its path.
        content: A picture, an array, plain data, or bytes, which stay as they are.

    Returns:
        The bytes of the file.
    """
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
