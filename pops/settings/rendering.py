"""How embeddings are rendered: the settings with their defaults, and the table of renderers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from pops.errors import check_known
from pops.settings.fields import GUIDANCE, SEED, SHARE, SIZE, STEPS, Range

if TYPE_CHECKING:
    from PIL import Image

    from pops.io.sources import Source

__all__ = [
    "ADAPTER_SCALE",
    "OPTIONS",
    "PRESETS",
    "PUBLISHED",
    "RENDERERS",
    "DecoderSettings",
    "Preset",
    "RenderSettings",
]

# A row is a class, or "module:class" for one whose module is imported when it is first used.
RENDERERS: dict[str, str | type] = {
    "kandinsky": "pops.render.kandinsky:KandinskyRenderer",
    "ip_adapter": "pops.render.ip_adapter:IPAdapterRenderer",
    "depth": "pops.render.depth:DepthRenderer",
    "find": "pops.search.renderer:FindRenderer",
    "revision": "pops.render.revision:RevisionRenderer",
    "img2img": "pops.render.decoders:Img2ImgRenderer",
    "inpaint": "pops.render.decoders:InpaintRenderer",
    "kandinsky_depth": "pops.render.decoders:KandinskyDepthRenderer",
    "stable_unclip": "pops.render.stable_unclip:StableUnCLIPRenderer",
}


@dataclass(frozen=True)
class Preset:
    """How a checkpoint that was distilled to few steps is rendered."""

    steps: int
    guidance: float  # 1 or less: a single conditional call a step
    size: int
    scheduler: str  # a class of diffusers
    options: Mapping[str, Any]  # of the scheduler


PRESETS = {
    # Adversarial distillation; more steps than one, since the IP-Adapter was not distilled.
    "turbo": Preset(
        6, 0.0, 512, "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}
    ),
    # SDXL-Lightning's checkpoint of four steps, as its authors sample it.
    "lightning": Preset(4, 0.0, 1024, "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "lcm": Preset(6, 1.0, 1024, "LCMScheduler", {}),  # latent consistency, merged or trained
}


@dataclass(frozen=True)
class DecoderSettings:
    """The values that a renderer works with; the defaults are those of the published decoder.

    All but the first three are for renderers that name them in their `takes`.
    """

    steps: int = 50
    guidance: float = 4.0
    size: int = 512  # pixels, of both sides
    preset: str | None = None  # a row of PRESETS
    prompt: str = ""
    ip_adapter_scale: float = 1.0
    init: "Image.Image | None" = None  # the picture that is changed
    init_strength: float = 0.5  # how much of it is changed: 1 keeps nothing
    mask: "Image.Image | None" = None  # white where the picture is changed


PUBLISHED = DecoderSettings()
ADAPTER_SCALE = Range(0, 10)
OPTIONS = ("preset", "prompt", "ip_adapter_scale", "init", "init_strength", "mask")


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """How embeddings are rendered; None stands for the renderer's own value.

    `vars(settings)` are keyword arguments of `Engine.render`.

    Args:
        seeds: the seeds of the noise; each makes one picture of an embedding.
        steps: the number of diffusion steps.
        guidance: the scale of classifier-free guidance.
        size: the pixels of a side of a picture.
        renderer: the name of a row of `RENDERERS`.
        preset: the name of a row of `PRESETS`, for a checkpoint of SDXL that takes few steps.
        prompt: a text that the picture is to follow beside the embedding.
        ip_adapter_scale: how much the embedding counts beside the prompt.
        init: the picture that `img2img` and `inpaint` change.
        init_strength: how much of it `img2img` changes, from 0 to 1.
        mask: for `inpaint`, a picture that is white where the other is changed.

    Raises:
        UsageError: a value is out of range, or the renderer or the preset is unknown.
    """

    seeds: tuple[int, ...] = (0, 1)
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    renderer: str = "kandinsky"
    preset: str | None = None
    prompt: str | None = None
    ip_adapter_scale: float | None = None
    init: "Source | None" = None
    init_strength: float | None = None
    mask: "Source | None" = None

    def __post_init__(self) -> None:
        SEED.check("render_seeds", self.seeds)
        STEPS.check("render_steps", self.steps)
        SIZE.check("render_size", self.size)
        GUIDANCE.check("render_guidance", self.guidance)
        ADAPTER_SCALE.check("ip_adapter_scale", self.ip_adapter_scale)
        SHARE.check("init_strength", self.init_strength)
        check_known("renderer", self.renderer, RENDERERS)
        if self.preset is not None:
            check_known("preset", self.preset, PRESETS)

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that are given, which not every renderer takes."""
        return tuple(name for name in OPTIONS if getattr(self, name) is not None)

    def plain(self) -> Self:
        """Give the settings to draw other embeddings with, such as inputs, by the own decoder.

        Returns:
            The settings without the renderer and its options.
        """
        nothing: dict[str, Any] = dict.fromkeys(OPTIONS)
        return replace(self, renderer=type(self).renderer, **nothing)

    def over(self, own: DecoderSettings) -> DecoderSettings:
        """Fill in a renderer's own values where none is given.

        Args:
            own: the renderer's own values.

        Returns:
            The values to render with; the pictures among them as they are given.
        """
        if self.preset is not None:
            few = PRESETS[self.preset]
            own = replace(own, steps=few.steps, guidance=few.guidance, size=few.size)
        names = ("steps", "guidance", "size", *OPTIONS)
        given = {name: getattr(self, name) for name in names}
        return replace(own, **{k: v for k, v in given.items() if v is not None})
