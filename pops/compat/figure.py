"""The pictures of the published strips: the inputs, every result rendered, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, product
from pathlib import Path

import torch
from PIL import Image

from pops.compat.config import BinaryConfig, PublishedConfig
from pops.compat.strips import Strip, StripGroup, StripInput
from pops.engine import Engine
from pops.errors import NotFiniteError, UsageError
from pops.figures import Cell, strips
from pops.io.embeddings import EMBEDDING_SUFFIXES, Embeddings
from pops.io.pictures import open_picture
from pops.io.sources import Source
from pops.settings.progress import Progress, part_of

__all__ = ["GroupResults", "Figure"]

GroupResults = tuple[StripGroup, list[Embeddings]]  # one embedding for each seed and guidance
Embed = Callable[[Sequence[Path]], Mapping[Path, Embeddings]]

LARGEST, SMALLEST = 512, 224  # pixels of a picture's side
LONGEST_ROW = 60_000  # pixels; a JPEG is at most 65,535 wide
KEPT_OPEN = 512  # pictures
TOGETHER = 8  # inputs that are rendered together
CAPTIONS = {"kandinsky": "", "ip_adapter": " IP-Adapter", "depth": " IP-Adapter Depth"}


class Figure:
    """Renders answers and lays out strips.

    Args:
        config: the settings of the command.
        engine: what renders.
        embed: gives the embeddings of those inputs that can be used.
    """

    def __init__(self, config: PublishedConfig, engine: Engine, embed: Embed) -> None:
        self.config = config
        self.engine = engine
        self.embed = embed
        self.inputs: Sequence[Path] = ()
        self.rendered: dict[Path, Image.Image] = {}  # the inputs that are embeddings
        wanted = {"ip_adapter": config.use_ipadapter, "depth": config.use_depth}
        self.renderers = ["kandinsky", *(name for name, asked in wanted.items() if asked)]
        self.mean = isinstance(config, BinaryConfig) and config.vis_mean

    def plan_inputs(self, paths: Sequence[Path]) -> None:
        """Say which inputs there are, so that each is always rendered beside the same others.

        Args:
            paths: all inputs of the command, in order.
        """
        self.inputs = [path for path in paths if _is_embedding(path)]

    def open_inputs(self, groups: Sequence[StripGroup], progress: Progress) -> None:
        """Render the inputs that are embeddings, with the published decoder seed.

        Args:
            groups: the groups whose inputs are to be shown.
            progress: called with the name of the work, what is done, and all that is to be done.
        """
        wanted = set(chain.from_iterable(each.paths for each in groups)) - self.rendered.keys()
        for start in range(0, len(self.inputs), TOGETHER):
            batch = self.inputs[start : start + TOGETHER]
            if wanted.intersection(batch):
                self._render_inputs(self.embed(batch), progress)

    def _render_inputs(self, embeds: Mapping[Path, Embeddings], progress: Progress) -> None:
        """Render inputs together; where one of them gives no picture, each alone, but for that."""
        try:
            joined = self._join(list(embeds.values()))
            pictures = self.engine.render(joined, seeds=[0], progress=progress)
        except NotFiniteError:
            for path in embeds if len(embeds) > 1 else ():
                self._render_inputs({path: embeds[path]}, progress)
        else:
            self.rendered |= zip(embeds, pictures, strict=True)

    def results(self, answers: Sequence[GroupResults], progress: Progress) -> list[list[Cell]]:
        """Render answers.

        Args:
            answers: groups of strips with their embeddings.
            progress: called with the name of the work, what is done, and all that is to be done.

        Returns:
            The pictures of each answer, captioned, in the published order.
        """
        seeds = self.config.unet_seeds
        parts = len(self.renderers) + self.mean
        embeddings = self._join([embedding for _, made in answers for embedding in made])
        pictures = {
            name: iter(
                self.engine.render(
                    embeddings,
                    seeds=seeds,
                    renderer=name,
                    depth_of=self._depth_of(answers) if name == "depth" else None,
                    progress=part_of(progress, at, parts),
                )
            )
            for at, name in enumerate(self.renderers)
        }
        cells = [
            [
                Cell(
                    next(pictures[name]),
                    f"prior_s {seed}, cfg {scale:g}, unet_s {unet_seed}{CAPTIONS[name]}",
                )
                for (seed, scale), unet_seed, name in product(
                    self.config.made, seeds, self.renderers
                )
            ]
            for _ in answers
        ]
        if self.mean:
            drawn = self._means([group for group, _ in answers], part_of(progress, -1, parts))
            for row, picture in zip(cells, drawn, strict=True):
                row.append(Cell(picture, "mean"))
        return cells

    def strip(self, strip: Strip, results: Sequence[Cell]) -> Image.Image:
        """Lay out the inputs of a strip and its results side by side.

        Args:
            strip: the strip.
            results: the pictures of its results.

        Returns:
            The picture of the strip.
        """
        drawn = [cell.image for cell in results if isinstance(cell.image, Image.Image)]
        side = min(LARGEST, max(SMALLEST, *(picture.width for picture in drawn)))
        inputs = [self._input(each, side) for each in strip.inputs if each.shown]
        return strips([[*inputs, *results]], side, widest=LONGEST_ROW)

    def _input(self, given: StripInput, side: int) -> Cell:
        if given.source is None:
            return Cell("", given.caption, "dropped")
        if given.source in self.rendered:
            picture = self.rendered[given.source]
            return Cell(picture, f"{given.caption} (embedding)", given.source.stem)
        if _is_embedding(given.source):
            return Cell("embedding", given.caption, given.source.stem)
        return Cell(_reduced(given.source, side), given.caption, given.source.stem)

    def _means(self, groups: Sequence[StripGroup], progress: Progress) -> list[Image.Image]:
        """Compute the mean of each two inputs, with the last decoder seed.

        A dropped input is the zero of normalised space.
        """
        zero = self.engine.stack.clip_stats["clip_mean"]
        pairs: list[tuple[Source, Source]] = []
        for group in groups:
            given = self.embed([path for path in group.sources if path])
            first, second = (given[path] if path else zero for path in group.sources)
            pairs.append((first, second))
        means = self.engine.mean(pairs)
        return self.engine.render(means, seeds=self.config.unet_seeds[-1:], progress=progress)

    def _depth_of(self, answers: Sequence[GroupResults]) -> list[Source]:
        """Give the first input of each group, as a picture, once for each of its embeddings."""
        pictures: list[Source] = []
        for group, made in answers:
            if group.depth_of is None:
                raise UsageError(
                    "--use_depth keeps the depth of the first input, which is left out: give one"
                )
            path = group.depth_of
            picture = self.rendered[path] if path in self.rendered else open_picture(path)
            pictures += [picture] * len(made)
        return pictures

    def _join(self, embeddings: Sequence[Embeddings]) -> Embeddings:
        rows = torch.cat([each.image_embeds for each in embeddings])
        return Embeddings(rows, self.engine.stack.name)


@lru_cache(KEPT_OPEN)
def _reduced(path: Path, side: int) -> Image.Image:
    """Shrink a picture that is larger than it is shown."""
    picture = open_picture(path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _is_embedding(path: Path) -> bool:
    return path.suffix.lower() in EMBEDDING_SUFFIXES
