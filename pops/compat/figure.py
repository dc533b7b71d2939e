"""The pictures of the published strips: the inputs, every result rendered, and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, product
from pathlib import Path

import torch
from PIL import Image

from pops.compat.config import BinaryConfig, PublishedConfig
from pops.compat.plan import Input, Job, Request
from pops.engine import Engine
from pops.errors import UsageError
from pops.figures import Cell, strips
from pops.io.embeddings import EMBEDDING_SUFFIXES, Embeddings
from pops.io.pictures import open_picture
from pops.io.sources import Source
from pops.settings.progress import Progress

__all__ = ["Answer", "Figure"]

Answer = tuple[Request, list[Embeddings]]  # one embedding for each seed and guidance

LARGEST, SMALLEST = 512, 224  # pixels of a picture's side
LONGEST_ROW = 64  # pictures; a JPEG is at most 65,535 pixels wide
KEPT_OPEN = 512  # pictures
CAPTIONS = {"kandinsky": "", "ip_adapter": " IP-Adapter", "depth": " IP-Adapter Depth"}


class Figure:
    """Renders answers and lays out strips. `embeds`: the embedding of every input."""

    def __init__(
        self, config: PublishedConfig, engine: Engine, embeds: Mapping[Path, Embeddings]
    ) -> None:
        self.config = config
        self.engine = engine
        self.embeds = embeds
        self.rendered: dict[Path, Image.Image] = {}  # the inputs that are embeddings
        wanted = {"ip_adapter": config.use_ipadapter, "depth": config.use_depth}
        self.renderers = ["kandinsky", *(name for name, asked in wanted.items() if asked)]
        self.mean = isinstance(config, BinaryConfig) and config.vis_mean

    def open_inputs(self, requests: Sequence[Request], progress: Progress) -> None:
        """Render those of the inputs that are embeddings, with the published decoder seed."""
        paths = dict.fromkeys(chain.from_iterable(each.paths for each in requests))
        todo = [path for path in paths if _is_embedding(path) and path not in self.rendered]
        if todo:
            joined = self._join([self.embeds[path] for path in todo])
            pictures = self.engine.render(joined, seeds=[0], progress=progress)
            self.rendered |= zip(todo, pictures, strict=True)

    def results(self, answers: Sequence[Answer], progress: Progress) -> list[list[Cell]]:
        """The pictures of each answer, captioned, in the published order."""
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
                    progress=_part(progress, at, parts),
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
            drawn = self._means([request for request, _ in answers], _part(progress, -1, parts))
            for row, picture in zip(cells, drawn, strict=True):
                row.append(Cell(picture, "mean"))
        return cells

    def strip(self, job: Job, results: Sequence[Cell]) -> Image.Image:
        """The inputs of a job and its results, side by side."""
        drawn = [cell.image for cell in results if isinstance(cell.image, Image.Image)]
        side = min(LARGEST, max(SMALLEST, *(picture.width for picture in drawn)))
        inputs = [self._input(each, side) for each in job.inputs if each.shown]
        cells = [*inputs, *results]
        rows = [cells[at : at + LONGEST_ROW] for at in range(0, len(cells), LONGEST_ROW)]
        return strips(rows, side)

    def _input(self, given: Input, side: int) -> Cell:
        if given.source is None:
            return Cell("", given.caption, "dropped")
        if given.source in self.rendered:
            picture = self.rendered[given.source]
            return Cell(picture, f"{given.caption} (embedding)", given.source.stem)
        return Cell(_reduced(given.source, side), given.caption, given.source.stem)

    def _means(self, requests: Sequence[Request], progress: Progress) -> list[Image.Image]:
        """The mean of each two inputs, with the last decoder seed.

        A dropped input is the zero of normalised space.
        """
        zero = self.engine.stack.clip_stats["clip_mean"]
        pairs: list[tuple[Source, Source]] = []
        for request in requests:
            first, second = (self.embeds[path] if path else zero for path in request.sources)
            pairs.append((first, second))
        means = self.engine.mean(pairs)
        return self.engine.render(means, seeds=self.config.unet_seeds[-1:], progress=progress)

    def _depth_of(self, answers: Sequence[Answer]) -> list[Source]:
        """The first input of each request, as a picture, once for each of its embeddings."""
        pictures: list[Source] = []
        for request, made in answers:
            if request.depth_of is None:
                raise UsageError("--use_depth keeps the depth of the first input: name one")
            path = request.depth_of
            picture = self.rendered[path] if path in self.rendered else open_picture(path)
            pictures += [picture] * len(made)
        return pictures

    def _join(self, embeddings: Sequence[Embeddings]) -> Embeddings:
        rows = torch.cat([each.image_embeds for each in embeddings])
        return Embeddings(rows, self.engine.stack.name)


@lru_cache(KEPT_OPEN)
def _reduced(path: Path, side: int) -> Image.Image:
    """A picture no larger than it is shown."""
    picture = open_picture(path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _is_embedding(path: Path) -> bool:
    return path.suffix.lower() in EMBEDDING_SUFFIXES


def _part(progress: Progress, at: int, parts: int) -> Progress:
    """Progress of the `at`-th of so many pieces of work as progress of them all."""
    before = at % parts
    return lambda what, done, total: progress(what, before * total + done, parts * total)
