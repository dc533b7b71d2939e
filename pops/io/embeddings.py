"""Image embeddings with where they came from, and the files they are kept in."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from pops import __version__
from pops.errors import InputError
from pops.io.files import EMBEDDING_SUFFIXES, atomic_path

__all__ = ["EMBEDDING_SUFFIXES", "Embeddings", "load_embeddings", "save_embeddings"]


@dataclass(frozen=True)
class Embeddings:
    """N image embeddings in un-normalised CLIP space.

    `expressions` and `seeds` say, row by row, how each was made; empty where that is not known.
    """

    image_embeds: Tensor  # (N, D) float32, on the CPU
    stack: str | None = None
    expressions: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    guidance: float | None = None
    version: str = __version__  # of pops, when they were made

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
        """The embeddings of one row, of a slice, or of the rows named."""
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

    def save(self, path: str | Path) -> None:
        save_embeddings(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Embeddings:
        return load_embeddings(path)


def save_embeddings(embeddings: Embeddings, path: str | Path) -> None:
    """Write a `.safetensors` file, or a `.pth` one that `torch.load(weights_only=True)` reads.

    Raises:
        OutputError: the place cannot be written; nothing is left behind.
    """
    path = Path(path)
    if path.suffix not in EMBEDDING_SUFFIXES:
        raise ValueError(f"{path}: embeddings are kept in {' or '.join(EMBEDDING_SUFFIXES)} files")
    tensor = embeddings.image_embeds.detach().float().cpu().contiguous()
    metadata = {
        "stack": embeddings.stack or "",
        "expressions": json.dumps(embeddings.expressions),
        "seeds": json.dumps(embeddings.seeds),
        "guidance": json.dumps(embeddings.guidance),
        "pops_version": embeddings.version,
    }
    if path.suffix == ".safetensors":
        content = safetensors_bytes({"image_embeds": tensor}, metadata=metadata)
    else:
        stream = BytesIO()
        torch.save({"image_embeds": tensor, **metadata}, stream)
        content = stream.getvalue()
    with atomic_path(path, suffix=".part") as part:
        part.write_bytes(content)


def load_embeddings(path: str | Path) -> Embeddings:
    """Read an embedding file: ours, or a `.pth` one of the published scripts. Runs no code of it.

    Raises:
        InputError: the file is missing, cut short, holds no embedding or more than that.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: name an embedding file")
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused, since it holds more than embeddings") from error
    except Exception as error:  # the readers raise almost anything on a damaged file
        raise InputError(f"{path}: cut short or no embedding file; make it again") from error
    return _from_content(path, content)


def _published_output(*values: Tensor) -> OrderedDict[str, Tensor]:
    """Stands in for the pickled pipeline output of the published scripts: holds, and does nothing.

    The pickle calls it with the fields' values and then sets them as items, or does only the latter
    in files of older versions.
    """
    return OrderedDict(zip(("image_embeds", "negative_image_embeds"), values, strict=False))


_PUBLISHED_NAME = (
    "diffusers.pipelines.kandinsky.pipeline_kandinsky_prior.KandinskyPriorPipelineOutput"
)


def _read_pth(path: Path) -> Any:
    allowed: list[Any] = [(_published_output, _PUBLISHED_NAME)]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        content: dict[str, Any] = dict(file.metadata() or {})
        if "image_embeds" in file.keys():  # noqa: SIM118  (the file is no mapping)
            content["image_embeds"] = file.get_tensor("image_embeds")
    return content


def _from_content(path: Path, content: Any) -> Embeddings:
    if isinstance(content, Tensor):
        content = {"image_embeds": content}
    tensor = content.get("image_embeds") if isinstance(content, dict) else None
    if not isinstance(tensor, Tensor):
        raise InputError(f"{path}: holds no image_embeds tensor")
    tensor = tensor[None] if tensor.ndim == 1 else tensor
    if tensor.ndim != 2 or not tensor.is_floating_point() or not tensor.isfinite().all():
        raise InputError(
            f"{path}: image_embeds is {tuple(tensor.shape)} {tensor.dtype}, "
            "not a matrix of finite numbers with one embedding a row"
        )
    try:
        return Embeddings(
            tensor.detach().float().contiguous(),
            stack=content.get("stack") or None,
            expressions=tuple(json.loads(content.get("expressions", "[]"))),
            seeds=tuple(json.loads(content.get("seeds", "[]"))),
            guidance=json.loads(content.get("guidance", "null")),
            version=content.get("pops_version", ""),
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: its metadata is damaged ({error})") from error
