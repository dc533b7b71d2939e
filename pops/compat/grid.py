"""Make all strips of a published command: inputs encoded once, everything in batches, files as they
come.

Numbers differ in their last digits from one batch to another. So the batches are those of all
strips, whether their files are there already or not, and a batch of which some are missing is
computed as a whole: a run that was stopped and goes on gives the files of one that was not.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from pops.compat.config import PublishedConfig
from pops.compat.figure import Figure, GroupResults
from pops.compat.strip_files import StripFiles
from pops.compat.strips import Strip, StripGroup, group_strips
from pops.engine import Engine
from pops.errors import InputError, NotFiniteError
from pops.figures import Cell
from pops.io.embeddings import Embeddings, save_embeddings
from pops.io.pictures import save_picture
from pops.operators import Operator
from pops.settings.progress import Progress, part_of

__all__ = ["Grid"]

ENCODED = 32  # inputs encoded together
SAMPLED = 256  # embeddings sampled together
RENDERED = 8 * 512**2  # pixels rendered together
MOST_RENDERED = 64  # pictures, however small
SAMPLING = 0.2  # of the work on a strip; the rest is rendering
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]"
Item = TypeVar("Item")


class Grid:
    """Makes the files of strips.

    Args:
        config: the settings of the command.
        operator: the row of the operator.
        engine: what encodes, applies and renders.
        files: where the files of a strip go.

    Attributes:
        faults: the inputs that cannot be used, and why.
        lost: the names of the strips whose results are not finite, and why.
    """

    def __init__(
        self, config: PublishedConfig, operator: Operator, engine: Engine, files: StripFiles
    ) -> None:
        self.config = config
        self.operator = operator
        self.engine = engine
        self.files = files
        self.faults: dict[Path, str] = {}
        self.lost: dict[str, str] = {}
        self.embeds: dict[Path, Embeddings] = {}
        self.groups: list[StripGroup] = []
        self.missing: Collection[str] = ()

    def make(self, strips: Sequence[Strip], missing: Collection[str]) -> int:
        """Make the files of strips that are missing.

        Args:
            strips: all strips of the command.
            missing: the names of those to make.

        Returns:
            How many were made: those whose inputs can be used and whose results are finite.
        """
        self.missing = missing
        self.groups = group_strips(strips, self.config.use_depth)
        figure = Figure(self.config, self.engine, self.embed)
        self.engine.operator(self.operator.name, self.config.weights)  # load first what may not fit
        for name in figure.renderers:  # the renderers may not fit either
            self.engine.renderer(name)
        size = max(1, SAMPLED // len(self.config.prior_seeds))
        batches = [batch for batch in _batches(self.groups, size) if self._count(batch)]
        self.embed(list(chain.from_iterable(each.paths for batch in batches for each in batch)))
        figure.plan_inputs(list(dict.fromkeys(chain.from_iterable(e.paths for e in self.groups))))
        made = 0
        with _bar(len(missing)) as bar:
            for batch in batches:
                made += self._make_batch(batch, figure, bar)
        return made

    def embed(self, paths: Sequence[Path]) -> dict[Path, Embeddings]:
        """Embed inputs, each together with the same others in every run of the command.

        Args:
            paths: inputs of the command.

        Returns:
            The embeddings of those that can be used.
        """
        everything = list(dict.fromkeys(chain.from_iterable(each.paths for each in self.groups)))
        wanted = set(paths) - self.embeds.keys() - self.faults.keys()
        todo = [batch for batch in _batches(everything, ENCODED) if wanted.intersection(batch)]
        with tqdm(total=len(todo), desc="encode", leave=False, file=sys.stderr) as bar:
            for batch in todo:
                try:
                    self.embeds |= zip(batch, self.engine.encode(batch), strict=True)
                except (InputError, NotFiniteError):  # encode each alone, to tell which is at fault
                    for path in batch:
                        self._embed_alone(path)
                bar.update()
        return {path: self.embeds[path] for path in paths if path in self.embeds}

    def _embed_alone(self, path: Path) -> None:
        try:
            self.embeds[path] = self.engine.encode([path])
        except (InputError, NotFiniteError) as error:
            self.faults[path] = str(error)
            tqdm.write(f"left out: {error}", file=sys.stderr)

    def _make_batch(self, batch: Sequence[StripGroup], figure: Figure, bar: tqdm[Any]) -> int:
        """Make the missing strips of a batch; how many were made."""
        usable = [each for each in batch if self.faults.keys().isdisjoint(each.paths)]
        answers = self._apply(usable, _share(bar, SAMPLING * self._count(usable)))
        made = 0
        for group in _batches(answers, self._rendered_together()):
            count = self._count([each for each, _ in group])
            if count:
                shown = self._draw(group, figure, _share(bar, (1 - SAMPLING) * count))
                made += sum(self._write(*one, figure) for one in shown)
        return made

    def _count(self, groups: Sequence[StripGroup]) -> int:
        """Count the strips of some groups that are missing."""
        return sum(strip.name in self.missing for each in groups for strip in each.strips)

    def _apply(self, groups: Sequence[StripGroup], progress: Progress) -> list[GroupResults]:
        """Yield each group with its embeddings, one a seed and guidance, where they are finite."""
        try:
            made = self._sample(groups, progress) if groups else []
        except NotFiniteError as error:
            for row in error.rows:
                self._lose(groups[row], str(error))
            return self._apply(
                [each for at, each in enumerate(groups) if at not in error.rows], progress
            )
        seeds = len(self.config.prior_seeds)
        return [
            (each, [of_scale[at * seeds + seed] for seed in range(seeds) for of_scale in made])
            for at, each in enumerate(groups)
        ]

    def _sample(self, groups: Sequence[StripGroup], progress: Progress) -> list[Embeddings]:
        """Compute the embeddings of all groups, by guidance."""
        config = self.config
        scales = config.prior_guidance_scale
        inputs = [[path and self.embeds[path] for path in each.sources] for each in groups]
        return [
            self.engine.apply(
                self.operator.name,
                inputs,
                text=[each.text or "" for each in groups] if self.operator.takes_text else None,
                seeds=config.prior_seeds,
                guidance=scale,
                steps=config.steps,
                sampler=config.sampler,
                weights=config.weights,
                progress=part_of(progress, at, len(scales)),
            )
            for at, scale in enumerate(scales)
        ]

    def _draw(
        self, answers: Sequence[GroupResults], figure: Figure, progress: Progress
    ) -> list[tuple[GroupResults, list[Cell]]]:
        """Yield each answer with its pictures, where they are finite."""
        try:
            figure.open_inputs([each for each, _ in answers], progress)
            return list(zip(answers, figure.results(answers, progress), strict=True))
        except NotFiniteError as error:
            if len(answers) == 1:
                self._lose(answers[0][0], str(error))
                return []
            return [one for answer in answers for one in self._draw([answer], figure, progress)]

    def _lose(self, group: StripGroup, why: str) -> None:
        for strip in group.strips:
            if strip.name in self.missing:
                self.lost[strip.name] = why
                tqdm.write(f"left out: {strip.name}: {why}", file=sys.stderr)

    def _rendered_together(self) -> int:
        """Count the groups whose answers are rendered in one batch."""
        pictures = min(RENDERED // self.engine.renderer().settings.size ** 2, MOST_RENDERED)
        return max(1, pictures // (len(self.config.made) * len(self.config.unet_seeds)))

    def _write(self, answer: GroupResults, results: Sequence[Cell], figure: Figure) -> int:
        """Write the missing strips of a group, each after its embeddings; how many those are."""
        group, embeddings = answer
        strips = [strip for strip in group.strips if strip.name in self.missing]
        for strip in strips:
            for (seed, scale), embedding in zip(self.config.made, embeddings, strict=True):
                save_embeddings(embedding, self.files.embedding(strip, seed, scale))
            picture = figure.strip(strip, results)
            save_picture(picture, self.files.picture(strip), comment=self.files.made_from(strip))
        return len(strips)


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _bar(total: int) -> tqdm[Any]:
    """Count strips, in parts too, and tell the time left."""
    return tqdm(
        total=total,
        bar_format=BAR,
        mininterval=0.5,
        miniters=0,
        disable=not total,
        file=sys.stderr,
    )


def _share(bar: tqdm[Any], span: float) -> Progress:
    """Report the progress of one piece of work, which takes `span` of the whole bar."""
    start = bar.n
    span *= 1 - 1e-9  # what is added up in parts stays within the total

    def show(what: str, done: int, total: int) -> None:
        bar.set_description(what, refresh=False)
        bar.update(start + span * done / total - bar.n)

    return show
