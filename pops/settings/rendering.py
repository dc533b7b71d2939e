"""How embeddings are rendered: the settings with their defaults, and the table of renderers."""

from dataclasses import dataclass
from math import isfinite

from pops.errors import UsageError, check_known
from pops.settings.fields import MOST_SIZE, MOST_STEPS, check_range, check_seeds

__all__ = ["PUBLISHED", "RENDERERS", "DecoderSettings", "RenderSettings"]

# A row is a class, or "module:class" for one whose module is imported when it is first used.
RENDERERS: dict[str, str | type] = {
    "kandinsky": "pops.render.kandinsky:KandinskyRenderer",
    "ip_adapter": "pops.render.ip_adapter:IPAdapterRenderer",
    "depth": "pops.render.depth:DepthRenderer",
    "find": "pops.search.renderer:FindRenderer",
}


@dataclass(frozen=True)
class DecoderSettings:
    """The values that a renderer works with; the defaults are those of the published decoder."""

    steps: int = 50
    guidance: float = 4.0
    size: int = 512  # pixels, of both sides


PUBLISHED = DecoderSettings()


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

    Raises:
        UsageError: a value is out of range, or the renderer is unknown.
    """

    seeds: tuple[int, ...] = (0, 1)
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    renderer: str = "kandinsky"

    def __post_init__(self) -> None:
        check_seeds("render_seeds", self.seeds)
        check_range("render_steps", self.steps, 1, MOST_STEPS)
        check_range("render_size", self.size, 1, MOST_SIZE)
        check_known("renderer", self.renderer, RENDERERS)
        if not isfinite(self.guidance or 0.0):
            raise UsageError("--render_guidance must be a finite number")

    def over(self, own: DecoderSettings) -> DecoderSettings:
        """Fill in a renderer's own values where none is given.

        Args:
            own: the renderer's own values.

        Returns:
            The values to render with.
        """
        return DecoderSettings(
            own.steps if self.steps is None else self.steps,
            own.guidance if self.guidance is None else self.guidance,
            own.size if self.size is None else self.size,
        )
