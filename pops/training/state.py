"""The state of a run: everything that a resume needs, in one object, and its checkpoints.

A checkpoint is a folder, `checkpoints/step-000001000`, with

    model.safetensors   the trained parameters
    ema.safetensors     their average, where one is kept
    state.pt            optimiser, gradient scaler, step and settings; no code can run in it

It is written under another name and renamed, so that a folder of that name is whole. The learning
rate, the place in the data and all random numbers are functions of the settings and the step.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pops.errors import PopsError, WeightsError
from pops.io.files import make_folder
from pops.io.formats.tensors import read_pickle, saving
from pops.io.loading import reading
from pops.training.step.ema import update_ema

__all__ = [
    "State",
    "latest_checkpoint",
    "read_state",
    "remove_unfinished",
    "save_checkpoint",
]

NAME = re.compile(r"step-(\d{9})")
LEFTOVERS = (".part-*", ".old-*")  # left by runs that were killed while they wrote or removed one
MOST_STEPS = 10**12
MOMENTS = ("exp_avg", "exp_avg_sq")  # tensors of AdamW that are as large as their parameter
SMALL = 4096  # numbers; tables of an 8-bit optimiser may be larger than a small parameter


class State:
    """The changing parts of a run: parameters, their average, optimiser, scaler and step."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        scaler: Any = None,
        ema_decay: float | None = None,
    ) -> None:
        """Start at step 0.

        Args:
            parameters: The parameters that are trained, by name.
            optimiser: Their optimiser.
            scaler: The gradient scaler of fp16, or None.
            ema_decay: The share of the average that every step keeps; None for no average.
        """
        self.parameters = dict(parameters)
        self.optimiser = optimiser
        self.scaler = scaler
        self.ema_decay = ema_decay
        self.ema = {
            name: p.detach().clone() for name, p in parameters.items() if ema_decay is not None
        }
        self.step = 0

    def advance(self) -> None:
        """Count a step, and move the average towards the present parameters."""
        self.step += 1
        if self.ema_decay is not None:
            averages = [self.ema[name] for name in self.parameters]
            update_ema(averages, list(self.parameters.values()), self.ema_decay, self.step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the average in place of the parameters inside the block, where one is kept.

        Yields:
            Nothing.
        """
        present = {name: self.parameters[name].data for name in self.ema}
        for name, average in self.ema.items():
            self.parameters[name].data = average
        try:
            yield
        finally:
            for name, data in present.items():
                self.parameters[name].data = data

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Check that all weights, their average and the optimiser's numbers are finite.

        Returns:
            Whether they are.
        """
        moments = [
            value
            for own in self.optimiser.state.values()
            for value in own.values()
            if isinstance(value, Tensor)
        ]
        return _all_finite([*self.parameters.values(), *self.ema.values(), *moments])

    def save(self, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write the files of a checkpoint.

        Args:
            folder: The folder, which exists.
            extra: Plain values that are kept in state.pt.

        Raises:
            OutputError: A file cannot be written.
        """
        _save(self.parameters, folder / "model.safetensors")
        if self.ema:
            _save(self.ema, folder / "ema.safetensors")
        rest = {
            "step": self.step,
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            **extra,
        }
        with saving(folder / "state.pt"):
            torch.save(_interned(rest), folder / "state.pt")

    def load(self, folder: Path) -> dict[str, Any]:
        """Take up a checkpoint.

        Args:
            folder: The checkpoint.

        Returns:
            The content of its state.pt.

        Raises:
            WeightsError: A file is missing or damaged, is of other parameters, or holds numbers
                that are not finite.
        """
        rest = read_state(folder)
        self._fill(self.parameters, folder / "model.safetensors")
        if self.ema_decay is not None:
            self._fill(self.ema, folder / "ema.safetensors")
        path = folder / "state.pt"
        self._check_moments(rest, path)
        with reading(path):
            self.optimiser.load_state_dict(rest["optimiser"])
            if self.scaler is not None and rest.get("scaler") is not None:
                self.scaler.load_state_dict(rest["scaler"])
        self.step = rest["step"]
        if not self.is_finite():
            raise WeightsError(
                f"{folder} holds numbers that are not finite: remove it, and train on from the one "
                "before with a lower --lr"
            )
        return rest

    @staticmethod
    @torch.no_grad()
    def _fill(own: Mapping[str, Tensor], path: Path) -> None:
        with reading(path):
            found = load_file(path)
        if found.keys() != own.keys() or any(found[n].shape != own[n].shape for n in own):
            raise WeightsError(
                f"{path} is of a run that trained other parameters: name another --output_dir"
            )
        for name, value in own.items():
            value.copy_(found[name])

    def _check_moments(self, rest: Mapping[str, Any], path: Path) -> None:
        """Check that the optimiser's tensors are whole and no larger than they can be."""
        shapes = [p.shape for p in self.parameters.values()]
        with reading(path):
            for number, moments in rest["optimiser"]["state"].items():
                for name, value in moments.items():
                    if not isinstance(value, Tensor):
                        continue
                    held = value.untyped_storage().nbytes() >= value.numel() * value.itemsize
                    known = name in MOMENTS and value.shape != shapes[number]
                    if known or not held or value.numel() > max(shapes[number].numel(), SMALL):
                        raise ValueError(f"{name} of parameter {number} is {tuple(value.shape)}")


def read_state(folder: Path) -> dict[str, Any]:
    """Read the state.pt of a checkpoint.

    Args:
        folder: The checkpoint.

    Returns:
        Its content: `step`, `optimiser`, `scaler` and, of `pops train`, `settings`.

    Raises:
        WeightsError: It is missing, damaged, or holds something else.
    """
    path = folder / "state.pt"
    with reading(path):
        state: Any = read_pickle(path, mapped=False)
    kinds = {"step": int, "optimiser": dict, "settings": dict}
    if not isinstance(state, dict):
        raise WeightsError(f"{path} is not the state of a training run: remove its folder")
    for name, kind in kinds.items():
        if not isinstance(state.get(name, {} if name == "settings" else None), kind):
            raise WeightsError(
                f"{path} is not the state of a training run: {name} is missing or wrong"
            )
    if not 0 <= state["step"] <= MOST_STEPS:
        raise WeightsError(
            f"{path} is not the state of a training run: it is at step {state['step']}"
        )
    return state


def save_checkpoint(
    state: State, folder: Path, keep: int, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint, and remove the oldest ones.

    A checkpoint that is there is not written again: once written, it stays as it is.

    Args:
        state: The state of the run, whose numbers are finite.
        folder: The folder of all checkpoints.
        keep: The number of newest checkpoints that stay.
        extra: Plain values that are kept with it.

    Returns:
        The checkpoint.

    Raises:
        PopsError: A number of the state is not finite; nothing is written.
        OutputError: There is no room, or the folder cannot be written.
    """
    path = make_folder(folder) / f"step-{state.step:09d}"
    remove_unfinished(folder)
    if not path.exists():
        if not state.is_finite():
            raise PopsError(
                f"step {state.step} has numbers that are not finite, and is not saved: lower --lr"
            )
        part = make_folder(folder / f".part-{os.getpid()}")
        try:
            state.save(part, extra or {})
            with saving(path):
                part.rename(path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    for old in _checkpoints(folder)[:-keep]:
        gone = folder / f".old-{old.name}"  # renamed first: the name promises a whole one
        old.rename(gone)
        shutil.rmtree(gone)
    return path


def remove_unfinished(folder: Path) -> None:
    """Remove the checkpoints that killed runs have left half written or half removed.

    Args:
        folder: The folder of all checkpoints, which need not exist.
    """
    for pattern in LEFTOVERS:
        for left in folder.glob(pattern):
            shutil.rmtree(left)


def latest_checkpoint(folder: Path) -> Path | None:
    """Find the newest checkpoint.

    Args:
        folder: The folder of all checkpoints, which need not exist.

    Returns:
        The checkpoint; None where there is none.
    """
    return next(reversed(_checkpoints(folder)), None)


def _checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with saving(path):
        save_file(plain, path)


def _interned(value: Any) -> Any:
    """Make equal texts one object, so that pickle writes equal states as equal bytes."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_interned(key): _interned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_interned(item) for item in value)
    return value


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    """Check tensors with one wait for their device."""
    checks = [t.isfinite().all() for t in tensors if t.is_floating_point() and t.numel()]
    return not checks or bool(torch.stack([c.to(checks[0].device) for c in checks]).all())
