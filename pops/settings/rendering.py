"""How embeddings are rendered."""

from dataclasses import dataclass

__all__ = ["PUBLISHED", "RenderSettings"]


@dataclass(frozen=True)
class RenderSettings:
    """How to render; the defaults are the published ones of the stack's own decoder."""

    steps: int = 50
    guidance: float = 4.0
    size: int = 512  # pixels, of both sides


PUBLISHED = RenderSettings()
