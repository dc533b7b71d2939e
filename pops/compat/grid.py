"""The grid job: each input encoded once, operator and renderers in batches, files as they come."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from pops.compat.config import PublishedConfig
from pops.compat.figure import Answer, Figure
from pops.compat.plan import Job, Request, distinct_requests
from pops.compat.record import Records
from pops.engine import Engine
from pops.errors import InputError
from pops.figures import Cell
from pops.io.embeddings import Embeddings, save_embeddings
from pops.io.pictures import save_picture
from pops.operators import Operator
from pops.settings.progress import Progress

__all__ = ["Grid"]

ENCODED = 32  # inputs encoded together
SAMPLED = 256  # embeddings sampled together
RENDERED = 8 * 512**2  # pixels rendered together
MOST_RENDERED = 64  # pictures, however small
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]"
Item = TypeVar("Item")


class Grid:
    """Makes the files of many jobs. `faults`: the inputs that cannot be used, and why."""

    def __init__(
        self, config: PublishedConfig, operator: Operator, engine: Engine, records: Records
    ) -> None:
        self.config = config
        self.operator = operator
        self.engine = engine
        self.records = records
        self.faults: dict[Path, str] = {}
        self.embeds: dict[Path, Embeddings] = {}

    def make(self, jobs: Sequence[Job]) -> int:
        """Make the jobs whose inputs can be used; how many those are."""
        figure = Figure(self.config, self.engine, self.embeds)
        self.engine.operator(self.operator.name, self.config.weights)  # first, since it may not fit
        for name in figure.renderers:  # and so may these
            self.engine.renderer(name)
        requests = distinct_requests(jobs, self.config.use_depth)
        self._encode(list(dict.fromkeys(chain.from_iterable(each.paths for each in requests))))
        usable = [each for each in requests if self.faults.keys().isdisjoint(each.paths)]
        total = sum(len(each.jobs) for each in usable)
        with _bar(total) as bar:
            for chunk in _chunks(usable, max(1, SAMPLED // len(self.config.prior_seeds))):
                answers = self._apply(chunk, _share(bar, 0))
                figure.open_inputs(chunk, _share(bar, 0))
                for group in _chunks(answers, self._rendered_together()):
                    jobs_done = sum(len(request.jobs) for request, _ in group)
                    cells = figure.results(group, _share(bar, jobs_done))
                    for answer, results in zip(group, cells, strict=True):
                        self._write(answer, results, figure)
        return total

    def _encode(self, paths: Sequence[Path]) -> None:
        """The embedding of every input, or its fault."""
        with tqdm(total=len(paths), desc="encode", leave=False, file=sys.stderr) as bar:
            for chunk in _chunks(paths, ENCODED):
                try:
                    self.embeds |= zip(chunk, self.engine.encode(chunk), strict=True)
                except InputError:  # of at least one of them: each alone tells which
                    for path in chunk:
                        self._encode_alone(path)
                bar.update(len(chunk))

    def _encode_alone(self, path: Path) -> None:
        try:
            self.embeds[path] = self.engine.encode([path])
        except InputError as error:
            self.faults[path] = str(error)
            tqdm.write(f"left out: {error}", file=sys.stderr)

    def _apply(self, requests: Sequence[Request], progress: Progress) -> list[Answer]:
        """Each request with its embeddings, one for each seed and guidance."""
        config = self.config
        inputs = [[path and self.embeds[path] for path in each.sources] for each in requests]
        made = [
            self.engine.apply(
                self.operator.name,
                inputs,
                text=[each.text or "" for each in requests] if self.operator.takes_text else None,
                seeds=config.prior_seeds,
                guidance=scale,
                steps=config.steps,
                sampler=config.sampler,
                weights=config.weights,
                progress=progress,
            )
            for scale in config.prior_guidance_scale
        ]
        seeds = len(config.prior_seeds)
        return [
            (each, [of_scale[at * seeds + seed] for seed in range(seeds) for of_scale in made])
            for at, each in enumerate(requests)
        ]

    def _rendered_together(self) -> int:
        """How many requests have their answers rendered in one batch."""
        pictures = min(RENDERED // self.engine.renderer().settings.size ** 2, MOST_RENDERED)
        return max(1, pictures // (len(self.config.made) * len(self.config.unet_seeds)))

    def _write(self, answer: Answer, results: Sequence[Cell], figure: Figure) -> None:
        """The files of the jobs of a request, each strip after its embeddings."""
        request, embeddings = answer
        for job in request.jobs:
            for (seed, scale), embedding in zip(self.config.made, embeddings, strict=True):
                save_embeddings(embedding, self.records.embedding(job, seed, scale))
            strip = figure.strip(job, results)
            save_picture(strip, self.records.strip(job), comment=self.records.of(job))


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _bar(total: int) -> tqdm[Any]:
    """Counts jobs, in parts too, and tells the time left."""
    return tqdm(
        total=total,
        bar_format=BAR,
        mininterval=0.5,
        miniters=0,
        disable=not total,
        file=sys.stderr,
    )


def _share(bar: tqdm[Any], span: float) -> Progress:
    """Progress of one piece of work that is `span` of what the bar counts."""
    start = bar.n

    def show(what: str, done: int, total: int) -> None:
        bar.set_description(what, refresh=False)
        bar.update(start + span * done / total - bar.n)

    return show
