"""Renderers: embeddings to pictures, behind one small contract."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol

from pops.errors import UsageError, nearest

if TYPE_CHECKING:
    from typing import Self

    from PIL import Image
    from torch import Tensor

    from pops.settings.progress import Progress
    from pops.settings.rendering import RenderSettings
    from pops.stacks.stack import Stack

__all__ = ["RENDERERS", "Renderer", "find_renderer"]


class Renderer(Protocol):
    """Anything that turns image embeddings into pictures."""

    takes_depth: ClassVar[bool]  # whether it keeps the depth of a picture, given beside

    @property
    def settings(self) -> RenderSettings:
        """What it renders with where the caller does not say."""
        ...

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """The renderer for the embeddings of a stack."""
        ...

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: RenderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        """One picture for each embedding (N, D) and its seed, the same in any batch.

        `depth_of`: for a renderer that takes depth, the picture of each whose depth is kept.
        """
        ...


# Each is imported when first asked for: they need diffusers.
RENDERERS = {
    "kandinsky": "pops.render.kandinsky:KandinskyRenderer",
    "ip_adapter": "pops.render.ip_adapter:IPAdapterRenderer",
    "depth": "pops.render.depth:DepthRenderer",
}


def find_renderer(name: str) -> type[Renderer]:
    """The renderer of that name; UsageError with the nearest name otherwise."""
    if name not in RENDERERS:
        near = nearest(name.lower(), RENDERERS)
        raise UsageError(
            f"unknown renderer {name!r}{near} (the renderers are {', '.join(RENDERERS)})"
        )
    from pops.io.loading import quietly

    module, kind = RENDERERS[name].split(":")
    with quietly():
        found: type[Renderer] = getattr(import_module(module), kind)
    return found
