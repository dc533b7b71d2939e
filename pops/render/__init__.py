"""Renderers: embeddings to pictures, behind one small contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["Progress", "RenderSettings", "Renderer"]

Progress = Callable[[str, int, int], None]  # (what, done, total)


@dataclass(frozen=True)
class RenderSettings:
    """How to render; the defaults are the published ones."""

    steps: int = 50
    guidance: float = 4.0
    size: int = 512  # pixels, of both sides


class Renderer(Protocol):
    """Anything that turns image embeddings into pictures."""

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: RenderSettings,
        progress: Progress | None = None,
    ) -> list[Image.Image]:
        """One picture for each embedding (N, D) and its seed, the same in any batch."""
        ...
