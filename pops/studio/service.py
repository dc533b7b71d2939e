"""The studio without HTTP: requests checked, turned into jobs, and put in the queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pops.compose.nodes import Node
from pops.errors import PopsError, UsageError
from pops.operators import Operator
from pops.studio import about
from pops.studio.compose import Composer, check, read
from pops.studio.job import OWN, Client, Job
from pops.studio.options import MOST_RESULTS, Options
from pops.studio.queue import JobQueue
from pops.studio.runner import MOST_CELLS, Runner
from pops.studio.saved import open_composition, save_composition
from pops.studio.store import Store, StoredItem, is_plain
from pops.studio.uploads import read_upload

if TYPE_CHECKING:
    from pops.engine import Engine

__all__ = ["StudioService"]

STORE_BYTES = 256 * 2**20
MOST_NAMES = 256  # pictures that an expression can choose from
LONGEST_TEXT = 500  # letters of an instruction

logger = logging.getLogger(__name__)


class StudioService:
    """An engine with a store and a queue before it.

    `waiting`: how many jobs may wait. `upload_bytes`: of the largest file that is taken.
    """

    def __init__(self, engine: Engine, waiting: int, upload_bytes: int) -> None:
        self.engine = engine
        self.store = Store(STORE_BYTES)
        about.add_examples(self.store)
        self.queue = JobQueue(waiting)
        self.runner = Runner(engine, self.store)
        self.composer = Composer(self.runner)
        self.upload_bytes = upload_bytes
        self.operators = {row.name: row for row in about.offered_operators(engine.stack)}

    def warm_up(self) -> Job:
        """Load every model, so that the first user need not wait for it."""
        return self.queue.submit(self._load)

    def _load(self, job: Job) -> None:
        try:
            self._use_all()
        except PopsError as error:
            logger.warning("%s", error)  # who uses what is missing is told, too

    def _use_all(self) -> None:
        examples = [item.source for item in list(self.store.examples.values())[:1]]
        self.engine.encode(examples)
        for row in self.operators.values():
            nothing = [None] * len(row.inputs)
            text = "a" if row.takes_text else None
            made = self.engine.apply(row.name, [nothing], text=text, seeds=[0], steps=1)
            self.engine.render(made, seeds=[0], steps=1)

    def describe(self) -> dict[str, Any]:
        limits = {
            "upload_bytes": self.upload_bytes,
            "results": MOST_RESULTS,
            "cells": MOST_CELLS,
        }
        return about.describe(self.engine, self.store, limits)

    def add(self, content: bytes, name: str) -> StoredItem:
        """An upload, checked, in the store. InputError if it cannot be used."""
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
        """UsageError or InputError for what does not fit; Busy if too many wait.

        `client`: whose job it is; clients take turns.
        """
        row, options = self._operator(operator), Options.read(settings)
        items = [None if name is None else self._item(name) for name in _list("inputs", inputs)]
        words = _text(text) if row.takes_text else None
        row.check_inputs(len(items), words)
        return self.queue.submit(
            lambda job: self.runner.apply(job, row, items, words, options), client
        )

    def compose(
        self, expression: str, inputs: Mapping[str, str] | None, settings: Any, client: Client = OWN
    ) -> Job:
        items, options = self._named(inputs), Options.read(settings)
        if options.takes_depth:
            raise UsageError("a composition has no single shape to keep: use another renderer")
        node = read(expression, items)
        self._check_operators(node)
        return self.queue.submit(lambda job: self.composer.run(job, node, items, options), client)

    def grid(
        self,
        operator: str,
        rows: Sequence[str],
        columns: Sequence[str],
        mean: bool,
        settings: Any,
        slots: Sequence[str] | None = None,
        client: Client = OWN,
    ) -> Job:
        """As `apply`. `slots`: those of the rows and of the columns; the first two unless given."""
        row, options = self._operator(operator), Options.read(settings)
        lefts = [self._item(name) for name in _list("rows", rows)]
        tops: list[StoredItem | str] = [
            _text(name) if row.takes_text else self._item(name)
            for name in _list("columns", columns)
        ]
        if not lefts or not tops or len(lefts) * len(tops) > MOST_CELLS:
            raise UsageError(f"a grid has 1 to {MOST_CELLS} cells, not {len(lefts)} x {len(tops)}")
        if len(options.seeds) * len(options.render_seeds) > 1:
            raise UsageError("a grid has one seed and one render seed")
        if not isinstance(mean, bool | None):
            raise UsageError("mean is true or false")
        if mean and row.takes_text:
            raise UsageError(f"there is no mean of a picture and a text: {row.name} has none")
        at = _places(row, slots)
        return self.queue.submit(
            lambda job: self.runner.grid(job, row, lefts, tops, at, mean, options), client
        )

    def check(
        self, expression: str, inputs: Mapping[str, str] | None, settings: Any
    ) -> dict[str, Any]:
        """What `pops.studio.compose.check` says, and whether this stack can run it."""
        items, options = self._named(inputs), Options.read(settings)
        told = check(expression, items, options)
        if told["ok"]:
            try:
                self._check_operators(read(expression, items))
            except UsageError as error:
                return {**told, "ok": False, "error": str(error)}
        return told

    def save(
        self, expression: str, inputs: Mapping[str, str] | None, settings: Any
    ) -> dict[str, Any]:
        items = self._named(inputs)
        read(expression, items)
        options = Options.read(settings)
        return save_composition(expression, items, options, self.engine.stack.name)

    def open(self, content: bytes) -> dict[str, Any]:
        """A saved composition, with its inputs in the store."""
        stack, dim = self.engine.stack.name, self.engine.dim
        text, settings, items = open_composition(content, stack, dim)
        told = {name: self.store.add(item).told for name, item in items.items()}
        return {"expression": text, "settings": settings, "inputs": told}

    def _operator(self, name: str) -> Operator:
        if not isinstance(name, str) or name not in self.operators:
            offered = ", ".join(self.operators)
            raise UsageError(f"this stack has no operator {str(name)!r}: it has {offered}")
        return self.operators[name]

    def _check_operators(self, node: Node) -> None:
        if hasattr(node, "operator"):
            self._operator(node.operator)
        for made in node.inputs:
            if made is not None:
                self._check_operators(made)

    def _item(self, name: object) -> StoredItem:
        if not isinstance(name, str):
            raise UsageError("inputs are named by the id that /inputs gave them, or by an example")
        return self.store.get(name)

    def _named(self, inputs: Mapping[str, str] | None) -> dict[str, StoredItem]:
        """The inputs that an expression can name: the examples, and those given."""
        if not isinstance(inputs or {}, Mapping) or len(inputs or {}) > MOST_NAMES:
            raise UsageError(f"inputs are an object of at most {MOST_NAMES} names and ids")
        for name in inputs or {}:
            if not isinstance(name, str) or not is_plain(name):
                raise UsageError(f"inputs have plain names, as in 'mug.png', not {name!r:.80}")
        examples = {item.name: item for item in self.store.examples.values()}
        return examples | {name: self._item(of) for name, of in (inputs or {}).items()}


def _places(row: Operator, slots: Sequence[str] | None) -> tuple[int, ...]:
    """Where in a request the row's input stands and, unless it is a text, the column's."""
    wanted = 1 if row.takes_text else 2
    names = row.inputs[:wanted] if slots is None else tuple(_list("slots", slots))
    if len(set(names)) != wanted or not set(names) <= set(row.inputs):
        raise UsageError(f"slots are {wanted} of those of {row.name}: {', '.join(row.inputs)}")
    return tuple(row.inputs.index(name) for name in names)


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{name} is a list")
    return list(value)


def _text(text: object) -> str:
    words = " ".join(text.split()) if isinstance(text, str) else ""
    if not words:
        raise UsageError("write a word or two of instruction")
    if len(words) > LONGEST_TEXT:
        raise UsageError(f"an instruction has at most {LONGEST_TEXT} letters")
    return words
