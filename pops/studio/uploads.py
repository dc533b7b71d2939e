"""Files that people send: pictures and embeddings, checked before anything else sees them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pops.errors import InputError
from pops.io.embeddings import Embeddings, load_embeddings
from pops.io.pictures import open_picture
from pops.studio.store import StoredItem, plain_name

__all__ = ["read_upload"]

EMBEDDING = ".safetensors"
MOST_EMBEDDING = 256 * 2**10  # bytes of a file
PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".bin", ".ckpt", ".npy")


def read_upload(content: bytes, name: str, stack: str, dim: int) -> StoredItem:
    """Read an uploaded file. It lies in a folder of its own meanwhile, and is gone after that.

    Args:
        content: The file.
        name: Its name, as it was sent.
        stack: The name of the stack whose embeddings can be used.
        dim: The numbers of one of its embeddings.

    Returns:
        The item that it becomes.

    Raises:
        InputError: It is neither a picture nor one embedding of that stack, or too large.
    """
    name = plain_name(name)
    suffix = Path(name).suffix.lower()
    if suffix in PICKLES:
        raise InputError(f"{name} is refused: embeddings are taken as {EMBEDDING} files only")
    if suffix == EMBEDDING and len(content) > MOST_EMBEDDING:
        raise InputError(f"{name} is larger than a file with one embedding can be")
    with tempfile.TemporaryDirectory(prefix="pops-studio-") as folder:
        path = Path(folder) / f"upload{EMBEDDING if suffix == EMBEDDING else ''}"
        path.write_bytes(content)
        try:
            if suffix == EMBEDDING:
                return _embedding(load_embeddings(path), name, stack, dim)
            return StoredItem.of_picture(name, open_picture(path))
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error


def _embedding(made: Embeddings, name: str, stack: str, dim: int) -> StoredItem:
    if len(made) != 1:
        raise InputError(f"{name} holds {len(made)} embeddings: give a file with a single one")
    found = made.image_embeds.shape[-1]
    if found != dim or made.stack not in (None, stack):
        raise InputError(
            f"{name} holds an embedding of {found} numbers, of the stack "
            f"{made.stack or 'unknown'}, but {stack} has embeddings of {dim}"
        )
    # Nothing else of the file is kept, whatever its metadata holds.
    known = Embeddings(made.image_embeds.clone(), stack, (repr(name),))
    return StoredItem("embedding", name, embedding=known, expression=repr(name))
