"""The studio without HTTP: requests checked, turned into jobs, and put in the queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pops.errors import PopsError, UsageError
from pops.operators import Operator
from pops.studio import about
from pops.studio.jobs.compose import Composer, check, read
from pops.studio.jobs.finder import MOST_FOUND, Finder
from pops.studio.jobs.grid import MOST_CELLS, make_grid
from pops.studio.jobs.job import OWN, Client, Job
from pops.studio.jobs.options import (
    MOST_RESULTS,
    Options,
    read_count,
    read_instruction,
    read_list,
    read_slots,
)
from pops.studio.jobs.queue import JobQueue
from pops.studio.jobs.runner import Runner
from pops.studio.saved import open_composition, save_composition
from pops.studio.spelling import Speller, place_of
from pops.studio.store import Store, StoredItem, is_plain
from pops.studio.uploads import read_upload

if TYPE_CHECKING:
    from pops.engine import Engine

__all__ = ["StudioService"]

STORE_BYTES = 256 * 2**20
MOST_NAMES = 256  # pictures that an expression can choose from

logger = logging.getLogger(__name__)


class StudioService:
    """An engine, with a store of pictures and a queue of jobs before it.

    Args:
        engine: What does the work.
        waiting: The jobs that may wait.
        upload_bytes: The bytes of the largest file that is taken.
        stack: The stack as it was named when the studio was started; its own name if left out.
        local: Whether only this machine can use the studio, so that its paths can be told.
        sdxl: The checkpoint of SDXL that the engine has in place of the stack's own.
    """

    def __init__(
        self,
        engine: Engine,
        waiting: int,
        upload_bytes: int,
        *,
        stack: str = "",
        local: bool = True,
        sdxl: str = "",
    ) -> None:
        self.engine = engine
        self.upload_bytes = upload_bytes
        self.operators = {row.name: row for row in about.offered_operators(engine.stack)}
        self.store = Store(STORE_BYTES)
        examples = about.add_examples(self.store)
        self.speller = Speller(
            stack if local and stack else engine.stack.name,
            {name: place_of(path, local) for name, path in examples.items()},
            {name: place_of(path, local) for name, path in engine.stack.operator_folders.items()},
            place_of(Path(engine.stack.spec.index), local),
            place_of(Path(sdxl), local) if sdxl and Path(sdxl).exists() else sdxl,
        )
        self.queue = JobQueue(waiting)
        self.runner = Runner(engine, self.store)
        self.composer = Composer(self.runner, self.operators)
        self.finder = Finder(self.composer)

    def warm_up(self) -> Job:
        """Load every model, so that the first visitor need not wait for it.

        Returns:
            The job that does it.
        """
        return self.queue.submit(self._load)

    def _load(self, job: Job) -> None:
        try:
            self._use_all()
        except PopsError as error:
            logger.warning("%s", error)  # visitors who use what is missing are told, too

    def _use_all(self) -> None:
        examples = [item.source for item in list(self.store.examples.values())[:1]]
        self.engine.encode(examples)
        for row in self.operators.values():
            nothing, text = [None] * len(row.inputs), "a" if row.takes_text else None
            made = self.engine.apply(row.name, [nothing], text=text, seeds=[0], steps=1)
            self.engine.render(made, seeds=[0], steps=1)

    def describe(self) -> dict[str, Any]:
        """Tell all that the page is made from.

        Returns:
            Operators, examples, limits and facts, as JSON.
        """
        limits = {
            "upload_bytes": self.upload_bytes,
            "results": MOST_RESULTS,
            "cells": MOST_CELLS,
            "found": MOST_FOUND,
        }
        return about.describe(self.engine, self.store, limits)

    def add(self, content: bytes, name: str) -> StoredItem:
        """Check an upload and put it into the store.

        Args:
            content: The file.
            name: Its name.

        Returns:
            The item that it became.

        Raises:
            InputError: It cannot be used.
        """
        found = read_upload(content, name, self.engine.stack.name, self.engine.dim)
        return self.store.add(found)

    def apply(
        self,
        operator: str,
        inputs: Sequence[str | None],
        text: str | None,
        settings: Any,
        client: Client = OWN,
    ) -> Job:
        """Queue one request to an operator.

        Args:
            operator: The name of the operator.
            inputs: Ids of items in the order of its slots; None for one that is left out.
            text: The instruction, for an operator that takes one.
            settings: What `Options.read` takes.
            client: Whose job it is; clients take turns.

        Returns:
            The job.

        Raises:
            UsageError: Something does not fit, or too many jobs wait.
            InputError: An input is no longer there.
        """
        row, options = self._operator(operator), Options.read(settings, self._item)
        items = [None if name is None else self._item(name) for name in read_list("inputs", inputs)]
        words = read_instruction(text) if row.takes_text else None
        row.check_inputs(len(items), words)
        return self.queue.submit(
            lambda job: self.runner.apply(job, row, items, words, options), client
        )

    def compose(
        self, expression: str, inputs: Mapping[str, str] | None, settings: Any, client: Client = OWN
    ) -> Job:
        """Queue a composition.

        Args:
            expression: The composition.
            inputs: Ids of items by the names that the expression uses.
            settings: What `Options.read` takes.
            client: Whose job it is.

        Returns:
            The job.

        Raises:
            UsageError: Something does not fit, or too many jobs wait.
            InputError: An input is no longer there.
        """
        items, options = self._named(inputs), Options.read(settings, self._item)
        if options.takes_depth:
            raise UsageError("a composition has no single shape to keep: use another renderer")
        node = read(expression, items, self.operators)
        return self.queue.submit(lambda job: self.composer.run(job, node, items, options), client)

    def grid(
        self,
        operator: str,
        rows: Sequence[str],
        columns: Sequence[str],
        mean: bool | None,
        settings: Any,
        slots: Sequence[str] | None = None,
        client: Client = OWN,
    ) -> Job:
        """Queue a grid: an operator applied to every row with every column.

        Args:
            operator: The name of the operator.
            rows: Ids of items.
            columns: Ids of items; texts for an operator that takes one.
            mean: Whether a second table shows the mean of each pair.
            settings: What `Options.read` takes.
            slots: The slots of the rows and of the columns; the first two if left out.
            client: Whose job it is.

        Returns:
            The job.

        Raises:
            UsageError: Something does not fit, or too many jobs wait.
            InputError: An input is no longer there.
        """
        row, options = self._operator(operator), Options.read(settings, self._item)
        lefts = [self._item(name) for name in read_list("rows", rows)]
        tops: list[StoredItem | str] = [
            read_instruction(name) if row.takes_text else self._item(name)
            for name in read_list("columns", columns)
        ]
        if not lefts or not tops or len(lefts) * len(tops) > MOST_CELLS:
            raise UsageError(f"a grid has 1 to {MOST_CELLS} cells, not {len(lefts)} x {len(tops)}")
        if options.results > 1:
            raise UsageError("a grid takes one seed and one render seed")
        if not isinstance(mean, bool | None):
            raise UsageError("mean must be true or false")
        if mean and row.takes_text:
            raise UsageError(f"{row.name} has no mean, since one input is a text: leave mean out")
        at = read_slots(row, slots)
        return self.queue.submit(
            lambda job: make_grid(self.runner, job, row, lefts, tops, at, bool(mean), options),
            client,
        )

    def find(
        self,
        expression: str,
        inputs: Mapping[str, str] | None,
        settings: Any,
        k: int | None = None,
        client: Client = OWN,
    ) -> Job:
        """Queue a search of the studio's index for what a composition gives.

        Args:
            expression: The composition; a single name is one, too.
            inputs: Ids of items by the names that the expression uses.
            settings: What `Options.read` takes.
            k: How many pictures to find; 12 if left out.
            client: Whose job it is.

        Returns:
            The job.

        Raises:
            UsageError: There is no index, something does not fit, or too many jobs wait.
            InputError: An input is no longer there.
        """
        if not self.engine.stack.spec.index:
            raise UsageError("this studio has no pictures to find: start it with --index")
        items, options = self._named(inputs), Options.read(settings, self._item)
        wanted = read_count("k", k, MOST_FOUND)
        node = read(expression, items, self.operators)
        return self.queue.submit(
            lambda job: self.finder.run(job, node, items, options, wanted), client
        )

    def check(
        self, expression: str, inputs: Mapping[str, str] | None, settings: Any
    ) -> dict[str, Any]:
        """Check a composition that is being written.

        Args:
            expression: The composition.
            inputs: Ids of items by the names that the expression uses.
            settings: What `Options.read` takes.

        Returns:
            As JSON, its tree and its other spellings, or what is wrong and where.

        Raises:
            UsageError: The inputs or the settings do not fit.
            InputError: An input is no longer there.
        """
        items, options = self._named(inputs), Options.read(settings, self._item)
        return check(expression, items, options, self.operators, self.speller)

    def save(
        self, expression: str, inputs: Mapping[str, str] | None, settings: Any
    ) -> dict[str, Any]:
        """Make the content of a file that holds a composition and its inputs.

        Args:
            expression: The composition.
            inputs: Ids of items by the names that the expression uses.
            settings: What `Options.read` takes.

        Returns:
            The content, as JSON.

        Raises:
            UsageError: Something does not fit.
            InputError: An input is no longer there.
        """
        items, options = self._named(inputs), Options.read(settings, self._item)
        read(expression, items, self.operators)
        name = self.engine.stack.name
        return save_composition(expression, items, options, name, self.operators)

    def open(self, content: bytes) -> dict[str, Any]:
        """Open such a file and put its inputs and pictures into the store.

        Args:
            content: The file.

        Returns:
            What `OpenedComposition.keep` tells.

        Raises:
            UsageError: Its expression or its settings do not fit.
            InputError: It cannot be used.
        """
        name, dim = self.engine.stack.name, self.engine.dim
        return open_composition(content, name, dim, self.operators).keep(self.store)

    def _operator(self, name: str) -> Operator:
        if not isinstance(name, str) or name not in self.operators:
            offered = ", ".join(self.operators)
            raise UsageError(f"this stack has no operator {str(name)[:60]!r}: it has {offered}")
        return self.operators[name]

    def _item(self, name: object) -> StoredItem:
        if not isinstance(name, str):
            raise UsageError("name an input by the id that /inputs gave it, or by an example")
        return self.store.get(name)

    def _named(self, inputs: Mapping[str, str] | None) -> dict[str, StoredItem]:
        """List the inputs that an expression can name: the examples, and those given."""
        if not isinstance(inputs or {}, Mapping) or len(inputs or {}) > MOST_NAMES:
            raise UsageError(f"inputs must be an object of at most {MOST_NAMES} names and ids")
        for name in inputs or {}:
            if not isinstance(name, str) or not is_plain(name):
                raise UsageError(
                    f"inputs must have plain names, as in 'mug.png', not {str(name)[:60]!r}"
                )
        examples = {item.name: item for item in self.store.examples.values()}
        return examples | {name: self._item(of) for name, of in (inputs or {}).items()}
