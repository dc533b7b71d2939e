"""Open stacks, by name or by folder: frozen models of one embedding space, and its operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from pops.errors import UsageError, WeightsError, check_known
from pops.io.formats.tensors import check_finite
from pops.io.hub.snapshots import fetch_file, is_repository, local_path
from pops.io.machine.placement import Placement, choose_placement
from pops.io.names import expand_home
from pops.operators import (
    Operator,
    check_state_dict,
    find_operator_folders,
    known_operators,
    read_operator_card,
    read_state_dict,
    without_stats,
)
from pops.prior.adapters import ADAPTER_CONFIG, Adapter
from pops.prior.joint import OWN_WEIGHTS, SHARED_WEIGHTS, read_own
from pops.prior.model import Prior
from pops.stacks.models import StackModels
from pops.stacks.spec import PRIOR_WEIGHTS, STACKS, StackSpec, find_spec

__all__ = [
    "Stack",
    "open_stack",
]

Part = TypeVar("Part")


def open_stack(
    stack: str | Path = "pocket",
    *,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "none",
    compiled: bool = False,
    operator_folders: Iterable[str | Path] = (),
    **parts: str | Path | None,
) -> Stack:
    """Open a stack by name or by folder. Nothing is loaded yet.

    Args:
        stack: the name of a stack, or a folder in the layout of one.
        device: where its models run.
        dtype: the number format of its models.
        offload: with "model", each model is on the device only while it is used.
        compiled: whether prior and decoder are compiled.
        operator_folders: operators that are known by name beside those of the stack.
        parts: what replaces fields of its `StackSpec`.

    Returns:
        The stack.

    Raises:
        UsageError: the stack is unknown, with the nearest name, an operator folder is not one, or
            nothing can be compiled here.
    """
    given = {name: str(place) for name, place in parts.items() if place is not None}
    return Stack(
        replace(find_spec(stack), **given),
        choose_placement(device, dtype, offload, compiled),
        find_operator_folders(operator_folders),
    )


@dataclass(frozen=True)
class Stack(StackModels):
    """A stack: its frozen models, and the operators that are tuned from its base prior.

    Attributes:
        operator_folders: Operators known by name beside those of the stack.
    """

    operator_folders: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def holding(cls, name: str, placement: Placement, **parts: Any) -> Stack:
        """Make a stack of parts that are loaded already. It has no files.

        Args:
            name: The name of the stack.
            placement: Where and in which number format the parts run.
            parts: The parts by the names of this class's properties: image_encoder, schedule, ...

        Returns:
            The stack.
        """
        stack = cls(StackSpec(name, "", "", ""), placement)
        stack.__dict__.update(parts)  # where cached_property looks before it computes
        return stack

    def shared(self, load: Callable[[Stack], Part]) -> Part:
        """Load a part that several renderers share once, and keep it.

        Args:
            load: Makes the part from this stack; the part is kept under this function.

        Returns:
            The part.
        """
        if load not in self._shared:
            self._shared[load] = load(self)
        part: Part = self._shared[load]
        return part

    @cached_property
    def _shared(self) -> dict[Callable[[Stack], Any], Any]:
        return {}

    @cached_property
    def base_prior(self) -> Prior:
        """The base prior, which all adapters share."""
        return self.prior(self.base_prior_state(), str(self.prior_folder / "prior"))

    def base_prior_state(self) -> dict[str, Tensor]:
        """Read the base prior's tensors, from which an operator's training can start.

        Returns:
            The tensors by name, without the clip statistics.
        """
        return read_state_dict(self.prior_folder / "prior" / PRIOR_WEIGHTS)

    @cached_property
    def operators(self) -> dict[str, Operator]:
        """The rows of all operators that are known by name."""
        home = expand_home(self.spec.operators)
        own = [card.parent for card in sorted(home.glob("*/operator.json"))]
        folders = {**find_operator_folders(own), **self.operator_folders}
        return known_operators(folders.values())

    def operator_row(self, name: str, weights: str | Path | None = None) -> Operator:
        """Find the row of an operator; nothing is loaded or downloaded.

        Args:
            name: The name of an operator, or an operator folder.
            weights: An operator folder or a weights file in place of the stack's own.

        Returns:
            The row of the operator's folder where it has one here, else that of the table.

        Raises:
            UsageError: The operator is unknown, or the folder holds another.
            WeightsError: The card is damaged, or of another stack.
        """
        folder = _operator_folder(name) or _operator_folder(weights)
        own = self.operator_folders.get(name) or _operator_folder(Path(self.spec.operators) / name)
        if folder is None and (weights is not None or own is None):
            check_known("operator", name, self.operators)
            return self.operators[name]
        card = read_operator_card(folder or own or "")
        if card.stack != self.name and {card.stack, self.name} <= set(STACKS):
            raise WeightsError(
                f"{folder or own} is of the stack {card.stack}, not {self.name}: "
                f"use --stack {card.stack}"
            )
        if name != card.operator.name and _operator_folder(name) is None:
            raise UsageError(
                f"{folder} holds the operator {card.operator.name}, not {name}: name another folder"
            )
        return card.operator

    def operator(self, name: str, weights: str | Path | None = None) -> tuple[Operator, Prior]:
        """Load an operator.

        Args:
            name: The name of an operator, or an operator folder.
            weights: An operator folder or a weights file in place of the stack's own.

        Returns:
            Its row, as `operator_row` finds it, and its tuned prior.

        Raises:
            UsageError: The operator is unknown, or the folder holds another.
            WeightsError: The weights are missing, damaged, not finite, or do not fit.
        """
        row = self.operator_row(name, weights)
        place = weights if weights is not None else _operator_folder(name)
        path = self.operator_path(row.name) if place is None else local_path(place)
        return row, self.tuned_prior(path)

    def tuned_prior(self, path: Path) -> Prior:
        """Load the prior of an operator.

        Adapters share the tensors of the base prior, and operators that were trained jointly those
        of their common prior: each adds only its own.

        Args:
            path: An operator folder or a weights file.

        Returns:
            The prior.

        Raises:
            WeightsError: The weights are missing, damaged, not finite, or do not fit.
        """
        if (path / ADAPTER_CONFIG).is_file():
            prior = self.base_prior.sharing()
            Adapter.read(path).put_into(prior)
            return prior.requires_grad_(False).eval()
        if (path / OWN_WEIGHTS).is_file():
            return self._one_of_joint(path)
        path = path / "prior.safetensors" if path.is_dir() else path
        return self.prior(read_state_dict(path), str(path))

    def _one_of_joint(self, folder: Path) -> Prior:
        shared = folder.resolve().parent / SHARED_WEIGHTS
        if shared not in self._joint_priors:
            self._joint_priors[shared] = self.prior(read_state_dict(shared), str(shared))
        prior = self._joint_priors[shared]
        own = read_own(folder)
        source = str(folder / OWN_WEIGHTS)
        check_state_dict(own, {name: prior.get_parameter(name) for name in own}, source)
        return prior.sharing({n: t.to(prior.get_parameter(n)) for n, t in own.items()})

    @cached_property
    def _joint_priors(self) -> dict[Path, Prior]:
        """The joint priors that have been loaded, by their file."""
        return {}

    @cached_property
    def prior_shapes(self) -> dict[str, Tensor]:
        """The tensors of this stack's prior by name, without their content."""
        with torch.device("meta"):
            return Prior(self.prior_config).state_dict()

    def check_operator(self, state: dict[str, Tensor], source: str) -> None:
        """Check that tensors are those of a prior of this stack.

        Args:
            state: Tensors by name, without the clip statistics, which belong to the stack.
            source: Names them in the error.

        Raises:
            WeightsError: Keys or shapes do not fit; it names them.
        """
        check_state_dict(state, without_stats(self.prior_shapes), source)

    def prior(self, state: dict[str, Tensor], source: str) -> Prior:
        """Make a prior of this stack.

        Args:
            state: Its tensors by name, without the clip statistics.
            source: Names them in errors.

        Returns:
            The prior, at rest.

        Raises:
            WeightsError: Keys or shapes do not fit, or the number format of the stack cannot hold
                a number.
        """
        self.check_operator(state, source)
        with torch.device("meta"):
            prior = Prior(self.prior_config)
        prior.load_state_dict({**state, **self.clip_stats}, assign=True)
        prior.requires_grad_(False).eval().to(dtype=self.placement.dtype)
        if self.placement.dtype != torch.float32:  # they were read in float32
            check_finite(
                dict(prior.named_parameters()), f"{source} in {self.placement.dtype}", WeightsError
            )
        # The statistics stay in float32: they scale every embedding that goes in or out.
        for key, value in self.clip_stats.items():
            getattr(prior, key).data = value
        self.at_rest(prior)
        prior.compiled = self.placement.compiled
        # Offloaded weights are copied to the device one by one, and so cannot be joined there.
        whole = not (self.placement.offload or self.placement.int8)
        return prior.join_projections() if whole else prior

    @property
    def prior_bytes(self) -> int:
        """The bytes of one loaded prior."""
        return sum(t.numel() for t in self.prior_shapes.values()) * self.placement.weight_bytes

    def operator_path(self, name: str) -> Path:
        """Find the weights of an operator by its name, downloaded first where they are on the hub.

        Args:
            name: The name of the operator.

        Returns:
            An operator folder, or a file in the published layout.

        Raises:
            WeightsError: The stack has no such operator.
        """
        if name in self.operator_folders:
            return self.operator_folders[name]
        published = f"models/{name}/learned_prior.pth"
        place = self.spec.operators
        root = expand_home(place)
        if not root.is_dir():
            if is_repository(place):
                return fetch_file(place, published)
            raise WeightsError(
                f"{root} is missing: {self.name} has no operators there; name a folder with "
                "--weights"
            )
        found = [path for path in (root / name, root / published) if path.exists()]
        if not found:
            raise WeightsError(f"{root / name} is missing: {self.name} has no operator {name}")
        return found[0]


def _operator_folder(place: str | Path | None) -> Path | None:
    folder = None if place is None else expand_home(place)
    return folder if folder and (folder / "operator.json").is_file() else None
