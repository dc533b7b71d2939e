"""Load models from folders that are checked first; whatever is wrong becomes one line.

A config may not ask for code, and the sizes that it names must fit the weights beside it: a library
would build whatever a config says.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from pops.errors import PopsError, WeightsError
from pops.io.formats.schema import read_json
from pops.io.formats.tensors import check_finite, read_tensors
from pops.io.names import shown_files

__all__ = [
    "can_load_cheaply",
    "check_code",
    "check_config",
    "load_model",
    "load_part",
    "quietly",
    "read_weights",
    "reading",
]

LIBRARIES = ("transformers", "diffusers")
CODE = ("auto_map", "custom_pipelines", "quantization_config", "trust_remote_code", "use_kernels")
ATTENTION = (None, "eager", "sdpa")  # those that torch itself brings
DIMENSIONS = ("hidden_size", "intermediate_size", "_dim", "_channels")  # ends of their names
COUNTED = (*DIMENSIONS, "_size", "_heads", "_layers", "_groups", "_length", "_positions")
MOST_LAYERS = 512
LARGEST_NUMBER = 100_000  # of a config without weights, such as a scheduler's
SLACK = 2**22  # numbers that a small model may have beyond what its weights say
Values = Iterator[tuple[str, Any]]


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
    with reading(folder), quietly(*_library(kind)):
        model, info = kind.from_pretrained(
            folder,
            **_load_options(kind, dtype),
            variant="fp16" if ".fp16." in files[0].name else None,
            local_files_only=True,
            use_safetensors=files[0].suffix == ".safetensors",
            output_loading_info=True,
        )
    absent = sorted(info["missing_keys"])
    if absent:
        raise WeightsError(f"{folder}: weights are missing: {', '.join(absent[:4])}")
    check_finite(dict(model.named_parameters()), f"{folder} in {dtype}", WeightsError)
    return model.requires_grad_(False).eval().to(device)


def read_weights(folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Read the weights of a model's folder, as `load_model` finds them, for a class of pops.

    Args:
        folder: Its config and weights.
        dtype: The number format that they are turned into.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        WeightsError: The folder is missing, damaged, cut short, asks for code or absurd sizes, or a
            weight is not finite in this number format.
    """
    state: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        read = read_tensors(path)
        state |= {name: tensor.to(dtype) for name, tensor in read.items()}
        converted = {name: state[name] for name, tensor in read.items() if tensor.dtype != dtype}
        check_finite(converted, f"{folder} in {dtype}", WeightsError)
    return state


def load_part(kind: Any, folder: Path) -> Any:
    """Load what stands beside a model: its tokenizer, image processor or scheduler.

    Args:
        kind: A class of transformers or diffusers with `from_pretrained`.
        folder: The local folder with its files.

    Returns:
        The part.

    Raises:
        WeightsError: It is missing or damaged, or asks for code.
    """
    with reading(folder), quietly(*_library(kind)):
        return kind.from_pretrained(folder, local_files_only=True)


def _load_options(kind: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Name the options of a loader as transformers or diffusers does."""
    if kind.__module__.startswith("transformers."):
        return {"dtype": dtype}
    return {"torch_dtype": dtype, "low_cpu_mem_usage": can_load_cheaply()}


def can_load_cheaply() -> bool:
    """Tell whether accelerate is installed: without it diffusers warns of its cheaper loading.

    Returns:
        True where models can be loaded without a second copy of their weights.
    """
    return importlib.util.find_spec("accelerate") is not None


@contextmanager
def quietly(*libraries: str) -> Iterator[None]:
    """Silence the bars and the advice that transformers and diffusers print when they load.

    Args:
        libraries: Those that are silenced, and imported for it; none: both.

    Yields:
        Nothing; they are silent inside the block.
    """
    logs = [import_module(f"{name}.utils.logging") for name in libraries or LIBRARIES]
    levels = [log.get_verbosity() for log in logs]
    bars = [log for log in logs if log.is_progress_bar_enabled()]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)
        for log in bars:
            log.enable_progress_bar()


def _library(kind: Any) -> tuple[str, ...]:
    """Name the library of a class, where it is one that prints."""
    return tuple(name for name in LIBRARIES if kind.__module__.startswith(f"{name}."))


def _weight_files(folder: Path) -> list[Path]:
    """Find the weights files to read of a folder whose config has been checked.

    Each has its full length. Those of the fp16 variant are read where there are no others. Without
    a config, transformers would make a model of its own and report on every tensor.
    """
    files = shown_files(folder.glob("*.safetensors")) or list(folder.glob("pytorch_model.bin"))
    if not files:
        raise WeightsError(
            f"{folder} is missing or holds no .safetensors weights: fetch or build the stack again"
        )
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder / 'config.json'} is missing: fetch or build the stack again")
    for path in files:
        if path.suffix == ".safetensors":
            with reading(path), safe_open(path, framework="pt"):
                pass
    check_config(folder / "config.json", sum(path.stat().st_size for path in files))
    return [path for path in files if ".fp16." not in path.name] or files


@contextmanager
def reading(place: Path, *, trusted: bool = False) -> Iterator[None]:
    """Turn whatever a library says of a damaged file into one line that names the place.

    Args:
        place: The file or folder that is read inside the block. The configs in a folder are
            checked first: none may ask for code.
        trusted: Whether the user has allowed the code that a config asks for.

    Yields:
        Nothing.

    Raises:
        WeightsError: Anything goes wrong inside the block, or a config asks for code.
    """
    if place.is_dir() and not trusted:
        for config in shown_files(place.rglob("*config.json")):
            check_code(config)
    try:
        yield
    except PopsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{place} is missing: fetch or build the stack again") from error
    except Exception as error:  # the libraries raise almost anything on a damaged file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{place} is damaged or cut short ({reason})") from error


def check_config(path: Path, weights: int | None = None) -> None:
    """Refuse a config that asks for code, or for sizes that its weights do not have.

    Args:
        path: A JSON file of settings of a model, a scheduler or an image processor.
        weights: The bytes of the model's weights; None where there are none.

    Raises:
        WeightsError: The file is missing, damaged, asks for code, or names absurd sizes.
    """
    values = list(_walk(check_code(path)))
    numbers = [(key, abs(value)) for key, value in values if type(value) is int]
    for key, value in values:  # some of these faults would show at the first picture only
        if type(value) is int and value < 0 and key.endswith(COUNTED):
            raise WeightsError(f"{path}: {key} is {value}, but it cannot be below 0")
    if weights is None:
        limit = LARGEST_NUMBER
    else:
        widest = max((n for key, n in numbers if key.endswith(DIMENSIONS)), default=1)
        layers = max((n for key, n in numbers if "layers" in key), default=1)
        room = 16 * weights + SLACK
        limit = room // max(widest, 1)
        if layers > MOST_LAYERS or layers * widest**2 > room:
            raise WeightsError(
                f"{path}: {layers} layers of width {widest} do not fit the weights beside it"
            )
    for key, number in numbers:
        if number > limit:
            raise WeightsError(
                f"{path}: {key} is {number}, which is larger than any model needs: fetch the "
                "file again"
            )


def check_code(path: Path) -> dict[str, Any]:
    """Read a config and refuse it where it asks for code that comes from elsewhere.

    Args:
        path: A JSON file of settings, also of a tokenizer.

    Returns:
        The settings by name.

    Raises:
        WeightsError: The file is missing, damaged, or asks for code.
    """
    config = read_json(path, dict[str, Any], WeightsError)
    for key, value in _walk(config):
        attention = "attn_implementation" in key or "experts_implementation" in key
        if (key in CODE and value) or (attention and value not in ATTENTION):
            raise WeightsError(f"{path}: refused, since its {key} asks for code from elsewhere")
    return config


def _walk(value: Any, key: str = "") -> Values:
    """Yield every value of nested settings, with the name that it stands under."""
    yield key, value
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _walk(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each, key)
