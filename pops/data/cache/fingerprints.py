"""Digests of what a cache is made from: encoders, datasets and settings."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from pops.data.cache.format import DatasetTraits, OperatorTraits
from pops.data.dataset import ListedDataset
from pops.data.reader import RecipeSettings
from pops.io.names import shown_files
from pops.operators import Operator
from pops.stacks.stack import Stack

__all__ = [
    "encoder_digests",
    "folder_digest",
    "listing_digest",
    "operator_traits",
    "dataset_traits",
    "settings_digest",
    "stack_digests",
    "stats_digest",
]

WHOLE = 2**26  # bytes; of a larger file only some blocks, spread over it, are read
BLOCK, BLOCKS = 2**18, 64
BYTES = "surrogateescape"  # a name that is not UTF-8 counts by its bytes
SUFFIXES = (".json", ".txt", ".safetensors")


def encoder_digests(stack: Stack, *, with_text: bool) -> dict[str, str]:
    """Digest the files of each encoder that a cache needs, and of its processor or tokenizer.

    Args:
        stack: The stack.
        with_text: Whether the text encoder is needed, too.

    Returns:
        A digest for each part of the stack.
    """
    parts = ["image_encoder", "image_processor", *(["text_encoder", "tokenizer"] * with_text)]
    return {part: folder_digest(stack.prior_folder / part) for part in parts}


def stack_digests(stack: Stack) -> dict[str, str]:
    """Digest the files of a stack, and of the operators beside it, that lie in folders.

    What comes from a hub is known by its repository and revision, and is left out.

    Args:
        stack: The stack.

    Returns:
        A digest for each part of the stack, and for each operator.
    """
    spec = stack.spec
    places: dict[str, str | Path] = {
        "prior": spec.prior,
        "decoder": spec.decoder,
        "operators": spec.operators,
        **{f"operator {name}": place for name, place in stack.operator_folders.items()},
    }
    return {
        name: folder_digest(Path(place), (*SUFFIXES, ".pth", ".bin"))
        for name, place in places.items()
        if place and Path(place).is_dir()  # parts that are loaded already have no place
    }


def stats_digest(stats: dict[str, Tensor]) -> str:
    """Digest `clip_mean` and `clip_std`, which normalise embeddings.

    Args:
        stats: The two tensors by name, (1, D) each.

    Returns:
        The digest.
    """
    return _digest(stats[key].float().numpy().tobytes() for key in ("clip_mean", "clip_std"))


def listing_digest(part: ListedDataset) -> str:
    """Digest the names and sizes of a dataset's files. Their content is not read.

    Args:
        part: The dataset.

    Returns:
        The digest.
    """
    return _digest(
        f"{record.name}\0{path.name}\0{_size(path)}".encode(errors=BYTES)
        for record in part.records
        for path in (record.files or (Path(),))
    )


def settings_digest(settings: RecipeSettings) -> dict[str, Any]:
    """Describe the settings of recipes: numbers as they are, lists by length and digest.

    Args:
        settings: The settings.

    Returns:
        A number or a text for each setting.
    """
    found: dict[str, Any] = {}
    for name, value in asdict(settings).items():
        if isinstance(value, tuple):
            entries = (f"{v.name} {_size(v)}" if isinstance(v, Path) else v for v in value)
            value = f"{len(value)}: {_digest(entry.encode(errors=BYTES) for entry in entries)}"
        found[name] = value
    return found


def operator_traits(operator: Operator) -> OperatorTraits:
    """Describe the part of an operator's row that is frozen in its examples.

    Args:
        operator: The operator.

    Returns:
        Its traits.
    """
    return OperatorTraits(
        name=operator.name,
        inputs=operator.inputs,
        takes_text=operator.takes_text,
        drop_each=operator.drop_each,
        drop_all=operator.drop_all,
    )


def dataset_traits(part: ListedDataset) -> DatasetTraits:
    """Describe a dataset: where it is, how many records it has, and the digest of its listing.

    Args:
        part: The dataset.

    Returns:
        Its traits.
    """
    return DatasetTraits(place=part.place, records=len(part.records), listing=listing_digest(part))


def folder_digest(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """Digest the files of a folder and of those in it, by name; of large ones only some blocks.

    Args:
        folder: The folder.
        suffixes: The endings of the files that count.

    Returns:
        The digest.
    """
    files = [path for path in shown_files(folder.rglob("*")) if path.suffix in suffixes]
    return _digest(piece for path in files for piece in (os.fsencode(path.name), *_pieces(path)))


def _pieces(path: Path) -> Iterable[bytes]:
    size = path.stat().st_size
    yield str(size).encode()
    with path.open("rb") as file:
        if size <= WHOLE:
            yield file.read()
            return
        for block in range(BLOCKS):
            file.seek((size - BLOCK) * block // (BLOCKS - 1))
            yield file.read(BLOCK)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(pieces: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(len(piece).to_bytes(8, "big") + piece)
    return found.hexdigest()[:16]
