"""Sources: what an operator's slot can be given, which is one picture or one embedding."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image
from torch import Tensor

from pops.errors import InputError
from pops.io.embeddings import Embeddings, load_embeddings
from pops.io.names import is_embedding_file

__all__ = ["Source", "given_embedding", "source_key"]

Source = str | Path | Image.Image | Tensor | Embeddings


def source_key(source: Source) -> object:
    """Make a key that is equal for the same file, and for the very same object.

    Args:
        source: A file or an object in memory.

    Returns:
        The key, which can be hashed.
    """
    return os.path.abspath(source) if isinstance(source, str | Path) else id(source)


def given_embedding(source: Source) -> Embeddings | None:
    """Find the one embedding that a source is or holds.

    Args:
        source: A file or an object in memory.

    Returns:
        The embedding; None where the source is a picture.

    Raises:
        InputError: A file cannot be read, or there is not exactly one embedding.
    """
    if isinstance(source, Image.Image):
        return None
    named = "input"
    if isinstance(source, str | Path):
        if not is_embedding_file(source):
            return None
        named, source = str(source), load_embeddings(source)
    if isinstance(source, Tensor):
        source = Embeddings(source.detach().float().cpu().reshape(-1, source.shape[-1]))
    if len(source) != 1:
        raise InputError(
            f"{named} holds {len(source)} embeddings, but one is wanted: give a file with a "
            "single one"
        )
    return source
