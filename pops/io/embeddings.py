"""Image embeddings with how each was made, and the files that they are kept in."""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from msgspec import structs
from safetensors import safe_open
from torch import Tensor

from pops import __version__
from pops.errors import InputError, OutputError
from pops.io.files import atomic_path, check_file
from pops.io.formats.arrays import read_array
from pops.io.formats.schema import Finite, Meta, Schema, Text, decode_json, fit
from pops.io.formats.tensors import is_finite, read_pickle, save_tensors, saving
from pops.io.names import EMBEDDING_SUFFIXES

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EMBEDDING_SUFFIXES", "Embeddings", "load_embeddings", "save_embeddings", "show_by"]

WRITTEN_SUFFIXES = (".safetensors", ".pth", ".pt", ".ipadpt")
MOST_BYTES = 2**30  # of an array in a compressed file


class ShowsEmbeddings(Protocol):
    """An engine, as far as it draws embeddings."""

    def show(self, embeddings: Embeddings) -> Image.Image:
        """Draw embeddings as a captioned strip."""
        ...


# By the name of the stack and the length of its embeddings.
_SHOWN_BY: WeakValueDictionary[tuple[str | None, int], ShowsEmbeddings] = WeakValueDictionary()


def show_by(stack: str, dim: int, engine: ShowsEmbeddings) -> None:
    """Let notebooks show the embeddings of a stack by an engine, for as long as it is there.

    Args:
        stack: the name of the stack.
        dim: the length of its embeddings.
        engine: an engine on it.
    """
    _SHOWN_BY[stack, dim] = engine


@dataclass(frozen=True, repr=False)
class Embeddings:
    """N image embeddings in un-normalised CLIP space.

    Attributes:
        image_embeds: The embeddings (N, D) in float32, on the CPU.
        stack: The name of the stack of their space; None where it is not known.
        expressions: How each was made, as a composition; empty where that is not known.
        seeds: The seed of each; empty where that is not known.
        guidance: The guidance that all were made with; None where there is none.
        version: The version of pops that made them.
    """

    image_embeds: Tensor
    stack: str | None = None
    expressions: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    guidance: float | None = None
    version: str = __version__

    def __post_init__(self) -> None:
        if self.image_embeds.ndim != 2:
            raise ValueError(f"embeddings are (N, D), not {tuple(self.image_embeds.shape)}")
        n = len(self.image_embeds)
        for name, rows in (("expressions", self.expressions), ("seeds", self.seeds)):
            if len(rows) not in (0, n):
                raise ValueError(f"{len(rows)} {name} for {n} embeddings")

    def __len__(self) -> int:
        return len(self.image_embeds)

    def __getitem__(self, rows: int | slice | Sequence[int]) -> Embeddings:
        """Select the embeddings of one row, of a slice, or of the rows named."""
        at = list(range(len(self)))[rows] if isinstance(rows, int | slice) else rows
        index = [at] if isinstance(at, int) else list(at)
        return replace(
            self,
            image_embeds=self.image_embeds[index],
            expressions=tuple(self.expressions[i] for i in index if self.expressions),
            seeds=tuple(self.seeds[i] for i in index if self.seeds),
        )

    def __iter__(self) -> Iterator[Embeddings]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        """Say in a line how many there are, of which stack, and how they were made."""
        count, dim = self.image_embeds.shape
        names = list(dict.fromkeys(self.expressions))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        made = f": {names[0]}{more}" if names else ""
        seeds = ", ".join(map(str, dict.fromkeys(self.seeds)))
        seeded = f" (seed {seeds})" if seeds else ""
        return f"<Embeddings {count} x {dim} of {self.stack or 'no known stack'}{made}{seeded}>"

    def _repr_png_(self) -> bytes | None:
        """Show the embeddings in a notebook, drawn by an engine that is at work on their stack."""
        engine = _SHOWN_BY.get((self.stack, self.image_embeds.shape[1]))
        if engine is None or not len(self):
            return None
        stream = BytesIO()
        engine.show(self).save(stream, "PNG")
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the embeddings to a file, as `save_embeddings` does.

        Args:
            path: A file that ends in .safetensors, .pth, .pt or .ipadpt.
        """
        save_embeddings(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Embeddings:
        """Read the embeddings of a file, as `load_embeddings` does.

        Args:
            path: An embedding file of any kind.

        Returns:
            Its embeddings, in float32 on the CPU.
        """
        return load_embeddings(path)


def save_embeddings(embeddings: Embeddings, path: str | Path) -> None:
    """Write a `.safetensors` file, or a `.pth` one that `torch.load(weights_only=True)` reads.

    Equal embeddings give equal bytes. An `.ipadpt` file holds the bare tensor (N, D), as IPAdapter
    in ComfyUI writes and reads it, and nothing of how it was made.

    Args:
        embeddings: What is written, with what is known of how it was made.
        path: A file that ends in .safetensors, .pth, .pt or .ipadpt.

    Raises:
        ValueError: The path ends in something else.
        OutputError: A number is not finite, or the place cannot be written; nothing is left
            behind.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        raise ValueError(f"{path}: embeddings are written to {' or '.join(WRITTEN_SUFFIXES)} files")
    tensor = embeddings.image_embeds.detach().float().cpu().contiguous()
    metadata = {
        "stack": embeddings.stack or "",
        "expressions": json.dumps(embeddings.expressions),
        "seeds": json.dumps(embeddings.seeds),
        "guidance": json.dumps(embeddings.guidance),
        "pops_version": embeddings.version,
    }
    if path.suffix.lower() == ".safetensors":
        save_tensors(path, {"image_embeds": tensor}, metadata)
        return
    if not is_finite(tensor):
        raise OutputError(f"{path}: not written, since a number in it is not finite")
    content = tensor if path.suffix.lower() == ".ipadpt" else {"image_embeds": tensor, **metadata}
    with atomic_path(path, suffix=".part") as part, saving(path), part.open("wb") as file:
        torch.save(content, file)


def load_embeddings(path: str | Path) -> Embeddings:
    """Read an embedding file: ours, one of the published scripts, or a plain array.

    Files that end in .safetensors, .pth, .pt, .bin, .ipadpt, .npy and .npz are read, in large or
    small letters. A file with several tensors or arrays must name one of them `image_embeds`.
    Nothing in a file can run code.

    Args:
        path: The file.

    Returns:
        Its embeddings, in float32 on the CPU.

    Raises:
        InputError: The file is missing, cut short, holds no embedding or more than that, or a
            number that is not finite in float32.
    """
    path = Path(path)
    check_file(path, InputError, ": name an embedding file")
    try:
        content = _READERS.get(path.suffix.lower(), _read_pth)(path)
        return _from_content(path, content)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} is refused: it holds more than plain embeddings") from error
    except Exception as error:  # the readers raise almost anything on a damaged file
        raise InputError(
            f"{path} is cut short or is not an embedding file: make it again"
        ) from error


def _published_output(*values: Tensor) -> OrderedDict[str, Tensor]:
    """Stand in for the pickled output of the published scripts: hold it, and do nothing.

    The pickle calls it with the fields' values and then sets them as items, or does only the latter
    in files of older versions.
    """
    return OrderedDict(zip(("image_embeds", "negative_image_embeds"), values, strict=False))


_PUBLISHED_NAME = (
    "diffusers.pipelines.kandinsky.pipeline_kandinsky_prior.KandinskyPriorPipelineOutput"
)


def _read_pth(path: Path) -> Any:
    return read_pickle(path, {_PUBLISHED_NAME: _published_output})


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        content: dict[str, Any] = dict(file.metadata() or {})
        names = list(file.keys())
        name = "image_embeds" if len(names) != 1 else names[0]
        if name in names:
            content["image_embeds"] = file.get_tensor(name)
    return content


def _read_npy(path: Path) -> Tensor:
    array = read_array(path)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # torch has no such numbers
        array = array.astype(np.float64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _read_npz(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        entries = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in entries]
        if len(entries) != 1 and "image_embeds" not in names:
            raise InputError(f"{path} holds {len(entries)} arrays, but none named image_embeds")
        at = 0 if len(entries) == 1 else names.index("image_embeds")
        if entries[at].file_size > MOST_BYTES:
            raise InputError(f"{path}: its array {names[at]} has over {MOST_BYTES:,} bytes")
        array = Path(folder) / "array.npy"
        with archive.open(entries[at]) as packed, array.open("wb") as file:
            shutil.copyfileobj(packed, file)
        try:
            return {"image_embeds": _read_npy(array)}
        except InputError as error:  # which names a file that is gone
            raise InputError(str(error).replace(str(array), f"{path}: {names[at]}")) from error


_READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": _read_safetensors,
    ".npy": _read_npy,
    ".npz": _read_npz,
}


class _Words(Schema):
    """The metadata of an embedding file."""

    stack: Annotated[str, Meta(max_length=1000)] | None = None
    expressions: tuple[Text, ...] = ()
    seeds: tuple[int, ...] = ()
    guidance: Finite | None = None
    pops_version: Annotated[str, Meta(max_length=100)] = ""


def _from_content(path: Path, content: Any) -> Embeddings:
    if isinstance(content, list):
        content = _ip_adapter_rows(path, content)
    if isinstance(content, Tensor):
        content = {"image_embeds": content}
    tensor = content.get("image_embeds") if isinstance(content, Mapping) else None
    if not isinstance(tensor, Tensor):
        raise InputError(f"{path} holds no tensor named image_embeds: name another file")
    found = f"{tuple(tensor.shape)} {tensor.dtype}"
    if tensor.ndim not in (1, 2) or not tensor.is_floating_point():
        raise _unfit(path, found)
    rows = tensor.detach().clone().float().contiguous()  # cloned, since it may be mapped
    if not is_finite(rows):
        raise _unfit(path, found)
    words = _read_words(path, content)
    try:
        return Embeddings(
            rows[None] if rows.ndim == 1 else rows,
            words.stack or None,
            words.expressions,
            words.seeds,
            words.guidance,
            words.pops_version,
        )
    except ValueError as error:
        raise InputError(
            f"{path}: its metadata is damaged ({error}): make the file again"
        ) from error


def _ip_adapter_rows(path: Path, content: list[Any]) -> Tensor:
    """Read the embeddings (N, D) of the list that diffusers makes for one IP-Adapter.

    Its tensor is (prompts, pictures, D); with guidance the zeros that are led away from come first.
    """
    if len(content) != 1 or not isinstance(content[0], Tensor) or content[0].ndim != 3:
        raise InputError(f"{path} holds a list that is not of the embeddings of one IP-Adapter")
    rows = content[0]
    half = len(rows) // 2
    guided = 2 * half == len(rows) and not rows[:half].any()
    return (rows[half:] if guided else rows).flatten(0, 1)


def _unfit(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: image_embeds is {found}, not a matrix of finite float32 numbers with one "
        "embedding in each row"
    )


def _read_words(path: Path, content: Mapping[str, Any]) -> _Words:
    """Read the metadata, each as JSON, as our files have it, or as plain values."""
    given = {key: content[key] for key in structs.asdict(_Words()) if key in content}
    for key in ("expressions", "seeds", "guidance"):
        if isinstance(given.get(key), str):
            given[key] = decode_json(given[key], Any, InputError, f"{path}: its metadata {key}")
    return fit(given, _Words, InputError, f"{path}: its metadata")
