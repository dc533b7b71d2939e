"""Groups of settings that several commands share."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from pops.errors import UsageError
from pops.settings.fields import MOST_STEPS, check_range, check_seeds, setting

__all__ = [
    "DrawnConfig",
    "NamedStack",
    "PlacementConfig",
    "SamplingConfig",
    "StackConfig",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["none", "model"]
RendererName = Literal["kandinsky", "ip_adapter", "depth"]


@dataclass(frozen=True, kw_only=True)
class NamedStack:
    """Which models."""

    stack: str = setting("pocket", "pocket, kandinsky-2.2, or a folder in its layout")


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """Where and how models run."""

    device: str = setting("auto", "auto, cpu, cuda or mps")
    dtype: Dtype = setting("auto", "number format of the models")
    offload: Offload = setting("none", "model: each is on the device only while it is used")


@dataclass(frozen=True, kw_only=True)
class StackConfig(PlacementConfig, NamedStack):  # whose fields come first
    """Which models, and where and how they run."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(StackConfig):
    """How an operator is sampled and its result rendered."""

    seeds: tuple[int, ...] = setting((18, 42), "seeds of the operator, one embedding each")
    render_seeds: tuple[int, ...] = setting((0,), "seeds of the renderer, one picture each")
    guidance: float | None = setting(None, "guidance of the operator; null: its own")
    steps: int = setting(25, "sampling steps of the operator")
    sampler: str = setting("ancestral", "ancestral or ddim")
    render_guidance: float | None = setting(None, "guidance of the renderer; null: its own")
    render_steps: int | None = setting(None, "steps of the renderer; null: its own")
    render_size: int | None = setting(
        None, "pixels of a side of a picture; null: the renderer's own"
    )

    def __post_init__(self) -> None:
        check_seeds("seeds", self.seeds)
        check_seeds("render_seeds", self.render_seeds)
        check_range("steps", self.steps, 1, MOST_STEPS)
        check_range("render_steps", self.render_steps, 1, MOST_STEPS)
        for name in ("guidance", "render_guidance"):
            if not isfinite(getattr(self, name) or 0.0):
                raise UsageError(f"--{name} must be a finite number")


@dataclass(frozen=True, kw_only=True)
class DrawnConfig(SamplingConfig):
    """And what renders it."""

    renderer: RendererName = setting(
        "kandinsky", "what draws the results; depth keeps the depth of the first input"
    )
