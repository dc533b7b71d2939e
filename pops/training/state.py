"""The state of a run: everything that a resume needs, as one object, and its checkpoints.

A checkpoint is a folder, `checkpoints/step-000001000`, with

    model.safetensors   the trained parameters
    ema.safetensors     their average, where one is kept
    state.pt            optimiser, gradient scaler, step and settings; no code can run in it

It is written under another name and renamed, so that what has the name is whole. The learning rate,
the place in the data and all random numbers are functions of the settings and the step.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pops.errors import WeightsError
from pops.io.files import make_folder
from pops.io.loading import reading

__all__ = ["State", "latest_checkpoint", "read_state", "save_checkpoint"]

NAME = re.compile(r"step-(\d{9})")


class State:
    """What changes while training: parameters, their average, optimiser, scaler and step."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        scaler: Any = None,
        ema_decay: float | None = None,
    ) -> None:
        """`parameters`: those that are trained. `scaler`: of fp16. `ema_decay`: None for none."""
        self.parameters = dict(parameters)
        self.optimiser = optimiser
        self.scaler = scaler
        self.ema_decay = ema_decay
        self.average = {
            name: p.detach().clone() for name, p in parameters.items() if ema_decay is not None
        }
        self.step = 0

    @torch.no_grad()
    def follow(self) -> None:
        """Count a step, and move the average towards the present parameters.

        Early on the average is of the last few steps: it keeps (1 + n) / (10 + n) after n steps.
        """
        self.step += 1
        if self.ema_decay is None:
            return
        keep = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter, 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model has the averaged parameters inside the block, where an average is kept."""
        present = {name: self.parameters[name].data for name in self.average}
        for name, average in self.average.items():
            self.parameters[name].data = average
        try:
            yield
        finally:
            for name, data in present.items():
                self.parameters[name].data = data

    def save(self, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write the three files; `extra` goes into state.pt as it is."""
        save_file(_on_cpu(self.parameters), folder / "model.safetensors")
        if self.average:
            save_file(_on_cpu(self.average), folder / "ema.safetensors")
        rest = {
            "step": self.step,
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            **extra,
        }
        torch.save(rest, folder / "state.pt")

    def load(self, folder: Path) -> dict[str, Any]:
        """Take up a checkpoint; what else is in its state.pt is given back."""
        rest = read_state(folder)
        self._fill(self.parameters, folder / "model.safetensors")
        if self.ema_decay is not None:
            self._fill(self.average, folder / "ema.safetensors")
        with reading(folder / "state.pt"):
            self.optimiser.load_state_dict(rest["optimiser"])
            if self.scaler is not None and rest["scaler"] is not None:
                self.scaler.load_state_dict(rest["scaler"])
            self.step = int(rest["step"])
        return rest

    @staticmethod
    @torch.no_grad()
    def _fill(own: Mapping[str, Tensor], path: Path) -> None:
        with reading(path):
            found = load_file(path)
        if found.keys() != own.keys():
            raise WeightsError(f"{path}: of a run that trained other parameters")
        for name, value in own.items():
            value.copy_(found[name])


def read_state(folder: Path) -> dict[str, Any]:
    """The state.pt of a checkpoint."""
    path = folder / "state.pt"
    with reading(path):
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


def save_checkpoint(
    state: State, folder: Path, keep: int, extra: Mapping[str, Any] | None = None
) -> Path:
    """A checkpoint of this step in `folder`; of all there, the `keep` newest stay."""
    make_folder(folder)
    path = folder / f"step-{state.step:09d}"
    if not path.exists():
        part = folder / f".part-{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        make_folder(part)
        state.save(part, extra or {})
        part.rename(path)
    for old in _checkpoints(folder)[:-keep]:
        gone = folder / f".old-{old.name}"  # renamed first: what has the name is whole
        old.rename(gone)
        shutil.rmtree(gone)
    for left in folder.glob(".*-*"):  # of runs that were killed while they wrote
        shutil.rmtree(left)
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`, if there is one."""
    return next(reversed(_checkpoints(folder)), None)


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
