"""Folders of models: fetched from the hub, checked, loaded; whatever is wrong becomes one line."""

from __future__ import annotations

import fnmatch
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pops.errors import WeightsError

__all__ = ["download", "load_model", "reading"]


def download(
    repository: str, patterns: Sequence[str], size: str | None = None, licence: str = ""
) -> Path:
    """The local snapshot of the files of a hub repository that match `patterns`.

    One line on stderr comes before a download; what is there already is used without a word and
    without a network.

    Raises:
        WeightsError: it is not here and no hub can be reached, or the hub does not have it.
    """
    from huggingface_hub import constants, snapshot_download

    with suppress(OSError, ValueError):  # not downloaded yet
        folder = Path(snapshot_download(repository, local_files_only=True))
        here = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
        if all(fnmatch.filter(here, pattern) for pattern in patterns):
            return folder
    weight, place = size or "of unknown size", constants.HF_HUB_CACHE
    terms = licence or "licence: see the hub"
    print(f"downloading {repository} ({weight}, {terms}) to {place}", file=sys.stderr)
    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # every error of the hub's client is an OSError
        raise WeightsError(
            f"{repository} ({weight}) cannot be downloaded: no hub is reachable, or it does not "
            f"have it; put it into {place}, or use --stack pocket, which needs no download"
        ) from error


def load_model(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A frozen model of a transformers or diffusers class from its folder.

    Raises:
        WeightsError: the folder is missing, damaged, cut short, or lacks some of the weights.
    """
    _check_weights(folder)
    with reading(folder), _no_progress_bar():
        model, info = kind.from_pretrained(
            folder,
            **_load_options(kind, dtype),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    absent = sorted(info["missing_keys"])
    if absent:
        raise WeightsError(f"{folder}: weights are missing: {', '.join(absent[:4])}")
    return model.requires_grad_(False).eval().to(device)


def _load_options(kind: Any, dtype: torch.dtype) -> dict[str, Any]:
    """What transformers and diffusers call the same things."""
    if kind.__module__.startswith("transformers."):
        return {"dtype": dtype}
    # diffusers warns when asked for its cheaper loading without accelerate.
    cheap = importlib.util.find_spec("accelerate") is not None
    return {"torch_dtype": dtype, "low_cpu_mem_usage": cheap}


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws a bar for every load, however short."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_weights(folder: Path) -> None:
    """WeightsError unless the config is there, and every weights file is, of its full length.

    Without its config, transformers would make a model of its own and report on every tensor.
    """
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder / 'config.json'} is missing: fetch or build the stack again")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder} is missing or holds no .safetensors weights")
    for path in files:
        with reading(path), safe_open(path, framework="pt"):
            pass


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Whatever a loading library says of a damaged file, as one line that names the place."""
    try:
        yield
    except FileNotFoundError as error:
        raise WeightsError(f"{place} is missing: fetch or build the stack again") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{place} is damaged or cut short ({reason})") from error
