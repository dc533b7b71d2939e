"""Renderers: they turn embeddings into pictures, behind one small contract.

Modules:
    kandinsky   the decoder of the stack
    ip_adapter  SDXL, conditioned on the embedding by an IP-Adapter
    depth       the same, which keeps the depth of a picture
    sdxl        the pipeline that these share
    checkpoints loads SDXL: of a folder, of a repository or of a single file
    revision    SDXL with the embedding in the place of its prompt's
    decoders    the decoders of Kandinsky 2.2 that start from a picture
    stable_unclip  Stable unCLIP, the decoder of stacks of OpenCLIP ViT-H/14 or CLIP ViT-L/14
    batches     batches of pictures that halve where memory is short
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from PIL import Image

from pops.errors import UsageError, check_known
from pops.io.pictures import open_picture
from pops.settings.rendering import RENDERERS

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from pops.settings.progress import Progress
    from pops.settings.rendering import DecoderSettings, RenderSettings
    from pops.stacks.stack import Stack

__all__ = ["RENDERERS", "Renderer", "fill_settings", "find_renderer"]


class Renderer(Protocol):
    """Turns image embeddings into pictures."""

    takes_depth: ClassVar[bool]  # whether it keeps the depth of a picture, given beside
    takes: ClassVar[tuple[str, ...]]  # the optional settings that it follows, as `prompt`

    @property
    def settings(self) -> DecoderSettings:
        """The values that it renders with where the caller gives none."""
        ...

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Load the renderer for the embeddings of a stack.

        Args:
            stack: the stack.

        Returns:
            The renderer.
        """
        ...

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        """Render embeddings, each the same in any batch.

        Args:
            image_embeds: embeddings (N, D).
            seeds: the seed of each.
            settings: the steps, the guidance and the size.
            progress: called with "render", the steps done, and all steps.
            depth_of: for a renderer that keeps depth, the picture of each whose depth is kept.

        Returns:
            N pictures.
        """
        ...


def find_renderer(name: str) -> type[Renderer]:
    """Find a renderer by name and import its module.

    Args:
        name: the name of a row of `RENDERERS`.

    Returns:
        The class, to be loaded by its `load`.

    Raises:
        UsageError: the name is unknown; the error suggests the nearest.
    """
    check_known("renderer", name, RENDERERS)
    row = RENDERERS[name]
    if not isinstance(row, str):
        return row
    module, kind = row.split(":")
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the libraries advise what to install while they are imported
    try:
        found: type[Renderer] = getattr(import_module(module), kind)
    finally:
        logging.disable(disabled)
    return found


def fill_settings(asked: RenderSettings, renderer: Renderer) -> DecoderSettings:
    """Fill in the renderer's own settings where none are given, and open the pictures among them.

    Args:
        asked: what the caller has given.
        renderer: the renderer.

    Returns:
        The settings to render with.

    Raises:
        UsageError: an option is given that the renderer does not take.
        InputError: a picture cannot be opened.
    """
    takes = getattr(renderer, "takes", ())
    for name in asked.options:
        if name not in takes:
            known = f"it takes {', '.join(takes)}" if takes else "it takes no such options"
            raise UsageError(f"the renderer {asked.renderer} does not take --{name}: {known}")
    opened = {
        name: open_picture(source)
        for name in ("init", "mask")
        if isinstance(source := getattr(asked, name), str | Path | Image.Image)
    }
    return replace(asked, **opened).over(renderer.settings)  # type: ignore[arg-type]
