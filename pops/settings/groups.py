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
    """The stack of models."""

    stack: PathOrName = setting(
        "pocket", "the models to use: pocket, kandinsky-2.2, or a folder in the same layout"
    )


@dataclass(frozen=True, kw_only=True)
class PlacementConfig(Settings):
    """The device and the number format of the models, and how they are kept on it."""

    device: str = setting("auto", "where models run: auto, cpu, cuda or mps")
    dtype: Dtype = setting("auto", "number format of the models; int8: weights take 8 bits")
    offload: Offload = setting("none", "model: keep each model on the device only while it is used")


@dataclass(frozen=True, kw_only=True)
class StackConfig(PlacementConfig, NamedStack):  # the fields of the last base come first
    """The stack of models, and where and how they run."""


@dataclass(frozen=True, kw_only=True)
class CompiledConfig(Settings):
    """The choice whether models are compiled."""

    compile: bool = setting(
        False, "compile prior and decoder: the first use of a size waits, later ones are faster"
    )


@dataclass(frozen=True, kw_only=True)
class SampledConfig(CompiledConfig, StackConfig):
    """The settings by which an operator is sampled."""

    seeds: tuple[int, ...] = setting(
        SamplingSettings.seeds, "seeds of the operator; each gives one embedding", within=SEED
    )
    guidance: float | None = setting(
        None, "guidance of the operator; null: its own", within=GUIDANCE
    )
    steps: int = setting(SamplingSettings.steps, "sampling steps of the operator", within=STEPS)
    sampler: str = setting(SamplingSettings.sampler, "sampler of the operator", choices=SAMPLERS)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.sampling  # so that a mistake is told at once

    @property
    def sampling(self) -> SamplingSettings:
        """How operators are sampled."""
        return SamplingSettings(
            seeds=self.seeds, guidance=self.guidance, steps=self.steps, sampler=self.sampler
        )


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(SampledConfig):
    """The settings by which an operator is sampled, and its result rendered by the decoder."""

    render_seeds: tuple[int, ...] = setting(
        (0,), "seeds of the renderer; each gives one picture", within=SEED
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
    """The operators of the user that are known by name."""

    operators: PathsOrNames = setting(
        (), "operator folders of your own, or folders of such; they are then known by name"
    )


@dataclass(frozen=True, kw_only=True)
class DrawnConfig(SamplingConfig, OwnOperators):
    """The settings by which an operator is sampled, and its result rendered by any renderer."""

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
    prompt: str | None = setting(
        None, "text that the picture follows as well; for the SDXL renderers"
    )
    ip_adapter_scale: float | None = setting(
        None, "weight of the embedding beside the prompt; null: 1", within=ADAPTER_SCALE
    )
    init: Path | None = setting(None, "picture that img2img and inpaint change")
    init_strength: float | None = setting(
        None, "how much img2img changes of the picture of --init, up to 1; null: 0.5", within=SHARE
    )
    mask: Path | None = setting(
        None, "picture that is white where inpaint changes the picture of --init"
    )

    @property
    def rendering(self) -> RenderSettings:
        """How results are rendered."""
        options = {name: getattr(self, name) for name in OPTIONS}
        return replace(super().rendering, renderer=self.renderer, **options)
