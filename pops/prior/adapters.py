"""Low-rank adapters (LoRA, arXiv 2106.09685) of the prior, in peft's own file format.

An adapter is two small matrices beside each linear layer of the transformer blocks. Operators that
are adapters share one base prior in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs
from safetensors import safe_open
from torch import Tensor, nn

from pops.errors import UsageError, WeightsError, install_hint
from pops.io.formats.schema import AdapterFile, decode_json, fit, read_json, write_json
from pops.io.formats.tensors import read_tensors, save_tensors
from pops.io.loading import reading
from pops.prior.model import Prior

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "Adapter",
    "adapter_state",
    "add_adapter",
    "check_lora",
    "effective_state",
    "merge_adapter",
    "read_lora",
    "save_adapter",
    "save_lora",
]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# All linear layers of a transformer block.
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
PREFIX = "base_model.model."  # peft's, in the names of its files
# diffusers' own form of an adapter: one file, with the configuration in its header.
LORA_WEIGHTS = "pytorch_lora_weights.safetensors"
LORA_METADATA = "lora_adapter_metadata"


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


def effective_state(model: nn.Module) -> dict[str, Tensor]:
    """Collect the weights that a model computes with: its own, with its active adapters added.

    Args:
        model: A prior, ours or diffusers', with peft's adapters or without.

    Returns:
        The tensors by the names they have without adapters; those without one are the model's own.
    """
    state = {
        name.replace(".base_layer.", "."): value
        for name, value in model.state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in model.named_modules():
        if not hasattr(layer, "get_delta_weight") or layer.merged or layer.disable_adapters:
            continue
        for adapter in layer.active_adapters:
            if adapter in layer.lora_A:
                own = state[f"{name}.weight"]
                state[f"{name}.weight"] = (own + layer.get_delta_weight(adapter).to(own)).detach()
    return state


def merge_adapter(prior: Prior) -> None:
    """Add an adapter to the weights it stands beside and take it out, in place.

    Weights that are shared with another prior are not touched: changed ones are new tensors.

    Args:
        prior: A prior with an adapter.
    """
    merged = effective_state(prior)
    adapted = [name for name, part in prior.named_modules() if hasattr(part, "get_delta_weight")]
    for name in adapted:
        plain = prior.get_submodule(name).get_base_layer()  # type: ignore[operator]
        plain.weight = nn.Parameter(merged[f"{name}.weight"].detach(), requires_grad=False)
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
            raise WeightsError(
                f"{path}: r is {found.r}, but the weights beside it are of another rank"
            )
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
            raise WeightsError(
                f"{self.source} does not fit this stack's prior: use the stack that it was "
                "trained on"
            ) from error
        own = adapter_state(prior)
        shapes = {key: value.shape for key, value in own.items()}
        if shapes != {key: value.shape for key, value in self.state.items()}:
            raise WeightsError(f"{self.source}: does not fit this stack's prior")
        for key, value in own.items():
            value.data.copy_(self.state[key])


def save_adapter(
    folder: Path, state: Mapping[str, Tensor], rank: int, targets: Sequence[str] = TARGETS
) -> None:
    """Write the two files of an adapter, in peft's format.

    Args:
        folder: The operator folder, which exists.
        state: The tensors, from `adapter_state`.
        rank: The rank of the adapter's matrices.
        targets: The names of the layers that it stands beside, or the ends of their names.
    """
    values = _plain(_config(rank, targets)) | {"inference_mode": True}
    write_json(folder / ADAPTER_CONFIG, values)
    save_tensors(folder / ADAPTER_WEIGHTS, state)


def save_lora(folder: Path, adapter: Adapter) -> Path:
    """Write an adapter as the LoRA file that diffusers' `load_lora_adapter` reads.

    Args:
        folder: The folder, which exists.
        adapter: The adapter.

    Returns:
        The path of the file.
    """
    state = {key.removeprefix(PREFIX): value for key, value in adapter.state.items()}
    path = folder / LORA_WEIGHTS
    save_tensors(path, state, {"format": "pt", LORA_METADATA: json.dumps(_plain(adapter.config))})
    return path


Lora = tuple[dict[str, Tensor], int, list[str]]  # as `save_adapter` takes it


def read_lora(path: Path) -> Lora | None:
    """Read a LoRA file of a prior, as diffusers' `save_lora_adapter` or peft writes it.

    Args:
        path: A .safetensors file.

    Returns:
        The tensors as `save_adapter` takes them, with the file's scale in them, the rank and the
        names of the layers; None where the file holds other weights.

    Raises:
        WeightsError: The file is damaged, or its adapter is of another kind.
    """
    found = read_tensors(path)
    if not any(".lora_A." in key for key in found):
        return None
    names = {key: key.removeprefix(PREFIX) for key in found}
    layers = sorted({name.rpartition(".lora_")[0] for name in names.values()})
    ranks = {len(value) for key, value in found.items() if ".lora_A." in key}
    if len(ranks) != 1 or not all(layers):
        raise WeightsError(
            f"{path} holds more than one adapter of one rank, which is all that can be read"
        )
    (rank,) = ranks
    scale = _lora_scale(path, rank)
    state = {
        PREFIX + names[key]: value * scale if ".lora_B." in key else value
        for key, value in found.items()
    }
    return state, rank, layers


def check_lora(lora: Lora, shapes: Mapping[str, Tensor], source: str) -> None:
    """Check that the matrices of a LoRA file fit the layers that they name.

    Args:
        lora: What `read_lora` gave.
        shapes: The tensors of the prior by name.
        source: The file, for the message.

    Raises:
        WeightsError: They do not; it names the first that does not.
    """
    state, rank, layers = lora
    for layer in layers:
        weight = shapes.get(f"{layer}.weight")
        pair = [state.get(f"{PREFIX}{layer}.lora_{side}.weight") for side in "AB"]
        if weight is None or weight.dim() != 2:
            raise WeightsError(f"{source}: {layer} is not a linear layer of this stack's prior")
        found = [None if one is None else tuple(one.shape) for one in pair]
        if found != [(rank, weight.shape[1]), (weight.shape[0], rank)]:
            raise WeightsError(f"{source}: the matrices of {layer} do not fit this stack's prior")


def _lora_scale(path: Path, rank: int) -> float:
    """Read the scale by which a LoRA file's product is added; 1 where the file does not say."""
    with reading(path), safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get(LORA_METADATA)
    if said is None:
        return 1.0
    values = decode_json(said, dict[str, Any], WeightsError, str(path))
    config = _taken(values, str(path))
    if config.r != rank:
        raise WeightsError(f"{path}: r is {config.r}, but its weights are of another rank")
    return config.lora_alpha / (rank**0.5 if config.use_rslora else rank)


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
    """Read the fields of a config that are used; WeightsError for another that has an effect."""
    return _taken(read_json(path, dict[str, Any], WeightsError), str(path))


def _taken(values: Mapping[str, Any], path: str) -> AdapterFile:
    if values.get("peft_type") != "LORA":
        raise WeightsError(
            f"{path}: peft_type is {values.get('peft_type')!r}, but only LORA is supported"
        )
    defaults = _peft().LoraConfig().to_dict()
    taken = set(structs.asdict(AdapterFile((), 1, 1.0)))
    for key, value in values.items():
        plain = value in (defaults.get(key), None, False) or value in ([], {})
        if key not in taken | ASIDE and not plain:
            raise WeightsError(f"{path}: {key} is {str(value)[:40]!r}, which is not supported")
    given = {key: value for key, value in values.items() if key in taken}
    return fit(given, AdapterFile, WeightsError, path)


def _config(rank: int, targets: Sequence[str] = TARGETS) -> LoraConfig:
    return _peft().LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets))


def _plain(config: LoraConfig) -> dict[str, Any]:
    """Turn a configuration into what JSON holds."""
    values: dict[str, Any] = config.to_dict()
    return values | {"target_modules": sorted(values["target_modules"])}


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UsageError(f"adapters need peft: {install_hint('train')}") from error
    return peft
