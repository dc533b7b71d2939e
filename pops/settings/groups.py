"""Groups of settings that several commands share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pops.settings.fields import (
    GUIDANCE,
    SEED,
    SHARE,
    SIZE,
    STEPS,
    PathOrName,
    PathsOrNames,
    Settings,
    setting,
)
from pops.settings.rendering import ADAPTER_SCALE, OPTIONS, PRESETS, RENDERERS, RenderSettings
from pops.settings.sampling import SAMPLERS, SamplingSettings

__all__ = [
    "CompiledConfig",
    "DrawnConfig",
    "Dtype",
    "NamedStack",
    "Offload",
    "OwnOperators",
    "PlacementConfig",
    "SampledConfig",
    "SamplingConfig",
    "StackConfig",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Offload = Literal["none", "model"]


@dataclass(frozen=True, kw_only=True)
class NamedStack(Settings):
    """Which models."""

    stack: PathOrName = setting("pocket", "pocket, kandinsky-2.2, or a folder in its layout")


@dataclass(frozen=True, kw_only=True)
class PlacementConfig(Settings):
    """Where and how models run."""

    device: str = setting("auto", "auto, cpu, cuda or mps")
    dtype: Dtype = setting("auto", "number format of the models; int8: weights take 8 bits")
    offload: Offload = setting("none", "model: each is on the device only while it is used")


@dataclass(frozen=True, kw_only=True)
class StackConfig(PlacementConfig, NamedStack):  # whose fields come first
    """Which models, and where and how they run."""


@dataclass(frozen=True, kw_only=True)
class CompiledConfig(Settings):
    """Whether models are compiled."""

    compile: bool = setting(
        False, "compile prior and decoder: each new size waits, later ones of it are faster"
    )


@dataclass(frozen=True, kw_only=True)
class SampledConfig(CompiledConfig, StackConfig):
    """How an operator is sampled."""

    seeds: tuple[int, ...] = setting(
        SamplingSettings.seeds, "seeds of the operator, one embedding each", within=SEED
    )
    guidance: float | None = setting(
        None, "guidance of the operator; null: its own", within=GUIDANCE
    )
    steps: int = setting(SamplingSettings.steps, "sampling steps of the operator", within=STEPS)
    sampler: str = setting(SamplingSettings.sampler, "sampler of the operator", choices=SAMPLERS)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.sampling  # a mistake is said at once

    @property
    def sampling(self) -> SamplingSettings:
        """How operators are sampled."""
        return SamplingSettings(
            seeds=self.seeds, guidance=self.guidance, steps=self.steps, sampler=self.sampler
        )


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(SampledConfig):
    """How an operator is sampled and its result rendered by the stack's own decoder."""

    render_seeds: tuple[int, ...] = setting(
        (0,), "seeds of the renderer, one picture each", within=SEED
    )
    render_guidance: float | None = setting(
        None, "guidance of the renderer; null: its own", within=GUIDANCE
    )
    render_steps: int | None = setting(None, "steps of the renderer; null: its own", within=STEPS)
    render_size: int | None = setting(
        None, "pixels of a side of a picture; null: the renderer's own", within=SIZE
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.rendering

    @property
    def rendering(self) -> RenderSettings:
        """How results are rendered."""
        return RenderSettings(
            seeds=self.render_seeds,
            steps=self.render_steps,
            guidance=self.render_guidance,
            size=self.render_size,
        )


@dataclass(frozen=True, kw_only=True)
class OwnOperators(Settings):
    """Which operators of one's own are known by name."""

    operators: PathsOrNames = setting(
        (), "folders of operators of your own, or that hold such; their names are then known"
    )


@dataclass(frozen=True, kw_only=True)
class DrawnConfig(SamplingConfig, OwnOperators):
    """How an operator is sampled and its result rendered by a renderer of choice."""

    renderer: str = setting(
        RenderSettings.renderer,
        "what draws the results; depth keeps the depth of the first input, find shows the nearest "
        "picture of --index",
        choices=RENDERERS,
    )
    index: Path | None = setting(
        None, "index of pictures for the renderer find, as pops index writes it"
    )
    html: bool = setting(
        False, "also write a page that holds all: figures, pictures, settings, the command"
    )
    sdxl: PathOrName | None = setting(
        None, "a checkpoint of SDXL in place of the stack's own: folder, repository or .safetensors"
    )
    preset: str | None = setting(
        None, "settings of an SDXL checkpoint that takes few steps", choices=PRESETS
    )
    prompt: str | None = setting(None, "text that the picture follows, too; by the SDXL renderers")
    ip_adapter_scale: float | None = setting(
        None, "weight of the embedding beside the prompt; null: 1", within=ADAPTER_SCALE
    )
    init: Path | None = setting(None, "picture that img2img and inpaint change")
    init_strength: float | None = setting(
        None, "how much img2img changes of it, up to 1; null: 0.5", within=SHARE
    )
    mask: Path | None = setting(None, "picture that is white where inpaint changes the other")

    @property
    def rendering(self) -> RenderSettings:
        """How results are rendered."""
        options = {name: getattr(self, name) for name in OPTIONS}
        return replace(super().rendering, renderer=self.renderer, **options)
