"""Every picture of a protocol: its request, its method and its seed, and how it is measured."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from pops.datagen.sample import Sample, Script
from pops.datagen.words import file_word
from pops.errors import check_known
from pops.evaluation.config import EvalConfig
from pops.evaluation.metrics.base import Made, Metric, measure
from pops.evaluation.protocols.methods import Method, Request, read_methods
from pops.evaluation.protocols.table import Protocol
from pops.evaluation.stages import Make
from pops.io.pictures import open_picture
from pops.operators import known_operators
from pops.settings.shard import Shard

__all__ = ["Evaluation", "Row", "choose_methods"]


@dataclass(frozen=True)
class Row:
    """A picture to be made: of which request, by which method, with which seed."""

    index: int
    request: int
    method: str
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """All pictures of a run of a protocol.

    The pictures of one seed and method stand together, so that batches are made of them.

    Args:
        requests: the requests.
        methods: the ways to make a picture of each, by name.
        seeds: the seeds of each.
        metrics: the metrics.
        limit: so many pictures of each method at most; None for all.
        keep: whether the pictures are kept.
        looks: words for looks, of which each thing has one.
    """

    requests: Sequence[Request]
    methods: Mapping[str, Method]
    seeds: tuple[int, ...]
    metrics: Sequence[Metric]
    limit: int | None = None
    keep: bool = False
    looks: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[Row]:
        """Every picture; a limit draws requests and seeds at random, the same in every run.

        Steps of one length would meet a list of inputs in its own rhythm, and leave most of it out.
        """
        pairs = list(product(self.seeds, range(len(self.requests))))
        if self.limit is not None and self.limit < len(pairs):
            pairs = sorted(random.Random("limit").sample(pairs, self.limit))
        every = [
            (seed, method, request)
            for seed in dict.fromkeys(seed for seed, _ in pairs)
            for method in self.methods
            for own, request in pairs
            if own == seed
        ]
        return [Row(i, request, method, seed) for i, (seed, method, request) in enumerate(every)]

    def indices(self, shard: Shard) -> range:
        """List the numbers of the pictures of one machine.

        Args:
            shard: Its part.

        Returns:
            The numbers.
        """
        return range(shard.number, len(self.rows), shard.count)

    def script(self, index: int, attempt: int = 0) -> Script:
        """Make and measure a picture, as the engines of data generation run it.

        Args:
            index: The number of the picture.
            attempt: Not used: no picture is tried twice.

        Yields:
            Requests to the stages.

        Returns:
            The numbers as the facts of a sample, and the picture where it is kept.
        """
        row = self.rows[index]
        request = self.requests[row.request]
        (picture,) = yield [Make(self.methods[row.method](request), row.seed)]
        made = Made(
            picture,
            {slot: open_picture(one.path) for slot, one in request.inputs.items()},
            {slot: one.word for slot, one in request.inputs.items()},
            request.text,
            self.looks,
        )
        numbers = yield from measure(self.metrics, made)
        name = self._name(row)
        return Sample(
            name, {f"{name}.png": picture} if self.keep else {}, self._facts(row, numbers)
        )

    def _name(self, row: Row) -> str:
        request = self.requests[row.request]
        words = [one.word for one in request.inputs.values()]
        words += [request.text] if request.text else []
        return f"{file_word(row.method)}/{row.request:05d}_{file_word(' '.join(words))}_s{row.seed}"

    def _facts(self, row: Row, numbers: Mapping[str, float | None]) -> dict[str, Any]:
        request = self.requests[row.request]
        text = {"text": request.text} if request.text is not None else {}
        return {
            "request": row.request,
            "method": row.method,
            "seed": row.seed,
            "words": {slot: one.word for slot, one in request.inputs.items()},
            **text,
            "numbers": dict(numbers),
        }


def choose_methods(protocol: Protocol, config: EvalConfig) -> dict[str, Method]:
    """Choose the ways to make pictures that the settings name.

    Args:
        protocol: The protocol.
        config: The settings of the command.

    Returns:
        The methods by name, in the order of the protocol, the user's own last.

    Raises:
        UsageError: A method is unknown, or a composition has another form.
    """
    for name in config.methods:
        check_known("method", name, protocol.methods)
    named = {
        name: method
        for name, method in protocol.methods.items()
        if not config.methods or name in config.methods
    }
    operators = known_operators(config.operators)
    return {**named, **read_methods(config.also, protocol.slots, operators)}
