"""Low-rank adapters (LoRA, arXiv 2106.09685) of the prior, in peft's own file format.

An adapter is two small matrices beside each linear layer of the transformer blocks. Operators that
are adapters share one base prior in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs
from torch import Tensor, nn

from pops.errors import UsageError, WeightsError, install_hint
from pops.io.files import atomic_path
from pops.io.schema import AdapterFile, fit, read_json
from pops.io.tensors import read_tensors, save_tensors
from pops.prior.model import Prior

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "Adapter",
    "adapter_state",
    "add_adapter",
    "merge_adapter",
    "save_adapter",
]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# All linear layers of a transformer block.
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
PREFIX = "base_model.model."  # peft's, in the names of its files


def add_adapter(prior: Prior, rank: int) -> None:
    """Put a fresh adapter into a prior, in place; it changes nothing until it is trained.

    Only the adapter's parameters require gradients afterwards.

    Args:
        prior: The prior, whose own weights are frozen.
        rank: The rank of the adapter's matrices.

    Raises:
        UsageError: peft is not installed.
    """
    peft = _peft()
    peft.inject_adapter_in_model(_config(rank), prior.requires_grad_(False))


def merge_adapter(prior: Prior) -> None:
    """Add an adapter to the weights it stands beside and take it out, in place.

    Weights that are shared with another prior are not touched: changed ones are new tensors.

    Args:
        prior: A prior with an adapter.
    """
    adapted = [
        (name, layer) for name, layer in prior.named_modules() if hasattr(layer, "get_delta_weight")
    ]
    for name, layer in adapted:
        plain = layer.get_base_layer()
        merged = plain.weight + layer.get_delta_weight("default").to(plain.weight)
        plain.weight = nn.Parameter(merged.detach(), requires_grad=False)
        prior.set_submodule(name, plain)


def adapter_state(prior: Prior) -> dict[str, Tensor]:
    """Collect the tensors of an adapter.

    Args:
        prior: A prior with an adapter.

    Returns:
        The tensors by the names that peft gives them in its files.
    """
    state = _peft().get_peft_model_state_dict(prior, adapter_name="default")
    return {PREFIX + key: value for key, value in state.items()}


class Adapter:
    """An adapter that was read from an operator folder.

    Args:
        config: Its configuration, as peft reads it.
        state: Its tensors by the names in its file.
        source: Its weights file, for messages.
    """

    def __init__(self, config: LoraConfig, state: Mapping[str, Tensor], source: str) -> None:
        self.config, self.state, self.source = config, state, source

    @property
    def rank(self) -> int:
        """The rank of the low-rank matrices."""
        return int(self.config.r)

    @classmethod
    def read(cls, folder: Path) -> Adapter:
        """Read the adapter of an operator folder.

        Of the config, only the names of modules and four numbers are taken: anything else would
        let a file steer peft, to the point of hanging it by a regular expression.

        Args:
            folder: The operator folder.

        Returns:
            The adapter, whose numbers fit its weights.

        Raises:
            WeightsError: A file is missing, damaged, or of another kind of adapter.
            UsageError: The package peft is missing.
        """
        path = folder / ADAPTER_CONFIG
        peft = _peft()
        found = _read_config(path)
        state = read_tensors(folder / ADAPTER_WEIGHTS)
        ranks = {len(value) for key, value in state.items() if ".lora_A." in key}
        if ranks != {found.r}:
            raise WeightsError(f"{path}: r is {found.r}, which is not that of its weights")
        config = peft.LoraConfig(
            target_modules=list(found.target_modules),
            r=found.r,
            lora_alpha=found.lora_alpha,
            lora_dropout=found.lora_dropout,
            use_rslora=found.use_rslora,
            inference_mode=True,
        )
        return cls(config, state, str(folder / ADAPTER_WEIGHTS))

    def put_into(self, prior: Prior) -> None:
        """Inject the adapter into a prior, in place.

        Args:
            prior: A prior of the stack that the adapter was trained on.

        Raises:
            WeightsError: A tensor of the adapter finds no layer of its shape.
        """
        peft = _peft()
        try:
            peft.inject_adapter_in_model(self.config, prior)
        except ValueError as error:
            raise WeightsError(f"{self.source}: does not fit this stack's prior") from error
        own = adapter_state(prior)
        shapes = {key: value.shape for key, value in own.items()}
        if shapes != {key: value.shape for key, value in self.state.items()}:
            raise WeightsError(f"{self.source}: does not fit this stack's prior")
        for key, value in own.items():
            value.data.copy_(self.state[key])


def save_adapter(folder: Path, state: Mapping[str, Tensor], rank: int) -> None:
    """Write the two files of an adapter, in peft's format.

    Args:
        folder: The operator folder, which exists.
        state: The tensors, from `adapter_state`.
        rank: The rank of the adapter's matrices.
    """
    values: dict[str, Any] = _config(rank).to_dict() | {"inference_mode": True}
    values["target_modules"] = sorted(values["target_modules"])
    with atomic_path(folder / ADAPTER_CONFIG) as part:
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    save_tensors(folder / ADAPTER_WEIGHTS, state)


# Fields of the config that do not change what an adapter computes.
ASIDE = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
}


def _read_config(path: Path) -> AdapterFile:
    """Read what is taken of a config; WeightsError where another field would change the adapter."""
    values = read_json(path, dict[str, Any], WeightsError)
    if values.get("peft_type") != "LORA":
        raise WeightsError(f"{path}: {values.get('peft_type')!r} is no LoRA adapter")
    defaults = _peft().LoraConfig().to_dict()
    taken = set(structs.asdict(AdapterFile((), 1, 1.0)))
    for key, value in values.items():
        plain = value in (defaults.get(key), None, False) or value in ([], {})
        if key not in taken | ASIDE and not plain:
            raise WeightsError(f"{path}: {key} is {str(value)[:40]!r}, which is not supported")
    given = {key: value for key, value in values.items() if key in taken}
    return fit(given, AdapterFile, WeightsError, str(path))


def _config(rank: int) -> LoraConfig:
    return _peft().LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS))


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UsageError(f"adapters need peft: {install_hint('train')}") from error
    return peft
