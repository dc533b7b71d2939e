"""Check the configs of models before a library builds anything from them.

A config may not ask for code, and the sizes that it names must fit the weights beside it: a library
would build whatever a config says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pops.errors import WeightsError
from pops.io.schema import read_json

__all__ = ["check_config", "check_code"]

CODE = ("auto_map", "custom_pipelines", "quantization_config", "trust_remote_code", "use_kernels")
ATTENTION = (None, "eager", "sdpa")  # those that torch itself brings
DIMENSIONS = ("hidden_size", "intermediate_size", "_dim", "_channels")  # ends of their names
MOST_LAYERS = 512
LARGEST_NUMBER = 100_000  # of a config without weights, such as a scheduler's
SLACK = 2**22  # numbers that a small model may have beyond what its weights say
Values = Iterator[tuple[str, Any]]


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
            raise WeightsError(f"{path}: {key} is {number}, which is out of all proportion")


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
    """Every value of nested settings, with the name that it stands under."""
    yield key, value
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _walk(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each, key)
