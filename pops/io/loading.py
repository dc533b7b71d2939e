"""Folders of models: checked and loaded; whatever is wrong becomes one line."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pops.errors import PopsError, WeightsError
from pops.io.configs import check_config
from pops.io.tensors import check_finite

__all__ = ["can_load_cheaply", "load_model", "quietly", "reading"]


def load_model(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a frozen model of a transformers or diffusers class from its folder.

    Weights are .safetensors, the fp16 variant where there is no other, or, failing those, the
    tensors of a `pytorch_model.bin`, read without running anything in it.

    Args:
        kind: The class.
        folder: Its config and weights.
        device: Where the model is put.
        dtype: The number format of its weights.

    Returns:
        The model, in evaluation mode.

    Raises:
        WeightsError: The folder is missing, damaged, cut short, lacks some of the weights, asks
            for code or absurd sizes, or a weight is not finite in this number format.
    """
    files = _weight_files(folder)
    check_config(folder / "config.json", sum(path.stat().st_size for path in files))
    plain = [path for path in files if ".fp16." not in path.name]
    with reading(folder), quietly():
        model, info = kind.from_pretrained(
            folder,
            **_load_options(kind, dtype),
            variant=None if plain else "fp16",
            local_files_only=True,
            use_safetensors=files[0].suffix == ".safetensors",
            output_loading_info=True,
        )
    absent = sorted(info["missing_keys"])
    if absent:
        raise WeightsError(f"{folder}: weights are missing: {', '.join(absent[:4])}")
    check_finite(dict(model.named_parameters()), f"{folder} in {dtype}", WeightsError)
    return model.requires_grad_(False).eval().to(device)


def _load_options(kind: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Name the options of a loader as transformers or diffusers does."""
    if kind.__module__.startswith("transformers."):
        return {"dtype": dtype}
    return {"torch_dtype": dtype, "low_cpu_mem_usage": can_load_cheaply()}


def can_load_cheaply() -> bool:
    """Whether accelerate is here: diffusers warns when asked for its cheaper loading without."""
    return importlib.util.find_spec("accelerate") is not None


@contextmanager
def quietly() -> Iterator[None]:
    """Without the bars and the advice that transformers and diffusers print when they load."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    levels = [(kind, kind.get_verbosity()) for kind in (logging, diffusers_logging)]
    logging.disable_progress_bar()
    for kind, _ in levels:
        kind.set_verbosity_error()
    try:
        yield
    finally:
        for kind, level in levels:
            kind.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _weight_files(folder: Path) -> list[Path]:
    """The weights files of the folder, once the config is there and each is of its full length.

    Without its config, transformers would make a model of its own and report on every tensor.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model.bin"))
    if not files:
        raise WeightsError(f"{folder} is missing or holds no .safetensors weights")
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder / 'config.json'} is missing: fetch or build the stack again")
    for path in files:
        if path.suffix == ".safetensors":
            with reading(path), safe_open(path, framework="pt"):
                pass
    return files


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Turn whatever a library says of a damaged file into one line that names the place.

    Args:
        place: The file or folder that is read inside the block.

    Raises:
        WeightsError: Anything goes wrong inside the block.
    """
    try:
        yield
    except PopsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{place} is missing: fetch or build the stack again") from error
    except Exception as error:  # the libraries raise almost anything on a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{place} is damaged or cut short ({reason})") from error
