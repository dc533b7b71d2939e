"""The renderer `find`: in place of a painted picture, the nearest picture of an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pops.errors import UsageError
from pops.search.exact import Index
from pops.settings.progress import Progress
from pops.settings.rendering import DecoderSettings

if TYPE_CHECKING:
    from typing import Self

    from PIL import Image
    from torch import Tensor

    from pops.stacks.stack import Stack

__all__ = ["FindRenderer"]


class FindRenderer:
    """Shows, for an embedding, the picture of an index that is nearest to it.

    The seed is the rank: 0 shows the nearest picture, 1 the next, and so on.

    Args:
        index: the pictures.
    """

    takes_depth: ClassVar[bool] = False
    settings = DecoderSettings(steps=1, guidance=1.0, size=512)

    def __init__(self, index: Index) -> None:
        self.index = index

    @classmethod
    def load(cls, stack: Stack) -> Self:
        """Open the index that is named beside the stack.

        Args:
            stack: the stack.

        Returns:
            The renderer.

        Raises:
            UsageError: no index is named, or it is of another stack.
            DataError: the index is missing or damaged.
        """
        if not stack.spec.index:
            raise UsageError(
                "the renderer find needs pictures to look among: name an index of them by --index"
            )
        index = Index(stack.spec.index)
        index.check_stack(stack)
        return cls(index)

    def render(
        self,
        image_embeds: Tensor,
        seeds: Sequence[int],
        settings: DecoderSettings,
        progress: Progress | None = None,
        depth_of: Sequence[Image.Image] | None = None,
    ) -> list[Image.Image]:
        """Open the picture that is found for each embedding.

        Args:
            image_embeds: Un-normalised embeddings (N, D).
            seeds: The rank of the picture of each, counted from 0.
            settings: The size, within which each picture is kept; the rest is not used.
            progress: Called with "render", the pictures done, and all of them.
            depth_of: Not used.

        Returns:
            One picture for each embedding, of its own proportions.

        Raises:
            UsageError: The index has fewer pictures than a rank asks for.
            InputError: A picture that was found is gone or damaged.
        """
        most = max(seeds, default=0)
        if most >= len(self.index):
            raise UsageError(
                f"--render_seeds asks for picture {most + 1} of {len(self.index)}: with "
                "--renderer find a seed is a rank, counted from 0"
            )
        found = self.index.find(image_embeds, most + 1) if len(seeds) else []
        pictures = []
        for hits, rank in zip(found, seeds, strict=True):
            picture = hits[rank].open()
            picture.thumbnail((settings.size, settings.size))
            pictures.append(picture)
            if progress is not None:
                progress("render", len(pictures), len(seeds))
        return pictures
