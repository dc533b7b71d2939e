"""Compositions in one file: the expression, the settings, and all pictures of both, as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from pops.compose.parse import parse
from pops.errors import InputError
from pops.io.embeddings import Embeddings
from pops.io.formats.schema import Finite, Schema, Text, decode_json
from pops.operators import OPERATORS
from pops.studio.jobs.compose import LONGEST_EXPRESSION, Operators
from pops.studio.jobs.options import PICTURES, Options
from pops.studio.spelling import leaves_of
from pops.studio.store import Store, StoredItem, is_plain, plain_name
from pops.studio.uploads import read_upload

__all__ = ["OpenedComposition", "open_composition", "save_composition"]

FORMAT = "pops-composition-1"
MOST_INPUTS = 64


class SavedInput(Schema):
    """One input: a PNG picture in base64, or an embedding."""

    picture: str | None = None
    embedding: list[Finite] | None = None


class SavedPicture(Schema):
    """A picture among the settings: a picture file in base64, and its name."""

    name: Text
    picture: str


class SavedComposition(Schema):
    """The content of the file."""

    format: Literal["pops-composition-1"]
    stack: Text
    expression: Text
    settings: dict[str, Any]
    inputs: dict[str, SavedInput]
    pictures: dict[Literal["init", "mask"], SavedPicture] = {}


@dataclass(frozen=True)
class OpenedComposition:
    """A composition that was read from its file.

    Args:
        expression: The composition.
        settings: Its settings but for pictures, as `Options.read` takes them.
        inputs: The inputs by the names that the composition uses.
        pictures: The pictures among the settings, by the names of these.
    """

    expression: str
    settings: dict[str, Any]
    inputs: dict[str, StoredItem]
    pictures: dict[str, StoredItem]

    def keep(self, store: Store) -> dict[str, Any]:
        """Put the inputs and the pictures into a store.

        Args:
            store: The store.

        Returns:
            As JSON, the expression, the settings with the ids of the pictures among them, the
            inputs by their names, and the pictures by the names of settings.

        Raises:
            InputError: An item is larger than the whole store.
        """
        inputs, pictures = (
            {name: store.add(item).told for name, item in items.items()}
            for items in (self.inputs, self.pictures)
        )
        return {
            "expression": self.expression,
            "settings": self.settings | {name: told["id"] for name, told in pictures.items()},
            "inputs": inputs,
            "pictures": pictures,
        }


def save_composition(
    text: str,
    inputs: Mapping[str, StoredItem],
    options: Options,
    stack: str,
    operators: Operators = OPERATORS,
) -> dict[str, Any]:
    """Make the content of a file that holds a composition and all that it needs.

    Args:
        text: The composition.
        inputs: What it may name; only what it does name is kept.
        options: The settings to keep beside it.
        stack: The name of the stack that made the embeddings among the inputs.
        operators: What the composition may apply.

    Returns:
        The content, to be written as JSON.

    Raises:
        UsageError: `text` is not a composition.
    """
    kept = {}
    for name in dict.fromkeys(str(leaf.source) for leaf in leaves_of(parse(text, operators))):
        item = inputs[name]
        numbers = None
        if item.embedding is not None:
            numbers = [float(number) for number in item.embedding.image_embeds[0]]
        kept[name] = {
            "picture": base64.b64encode(item.seen).decode() or None,
            "embedding": numbers,
        }
    return {
        "format": FORMAT,
        "stack": stack,
        "expression": text,
        "settings": {name: one for name, one in options.told.items() if name not in PICTURES},
        "inputs": kept,
        "pictures": {name: _saved_picture(item) for name, item in options.pictures.items()},
    }


def _saved_picture(item: StoredItem) -> dict[str, str]:
    picture = base64.b64encode(item.seen or item.shown).decode()
    return {"name": plain_name(item.name), "picture": picture}


def open_composition(
    content: bytes, stack: str, dim: int, operators: Operators = OPERATORS
) -> OpenedComposition:
    """Read such a file; every input is checked as an upload is.

    Args:
        content: The file.
        stack: The name of the stack that the inputs are for.
        dim: The numbers of an embedding.
        operators: What the composition may apply.

    Returns:
        What it holds.

    Raises:
        InputError: It is not such a file, is of another stack, or a picture or an input of
            it cannot be used.
        UsageError: Its settings or its expression are wrong.
    """
    said = "this is not a composition saved by the studio"
    most = MOST_INPUTS * (dim + 8) + LONGEST_EXPRESSION
    values = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if values > most:  # they would fill the memory before any of them is looked at
        raise InputError(f"{said}: it holds too many values")
    saved = decode_json(content, SavedComposition, InputError, said)
    if len(saved.inputs) > MOST_INPUTS:
        raise InputError(
            f"the saved composition has more than {MOST_INPUTS} inputs: save a smaller one"
        )
    for name in (*saved.inputs, *(one.name for one in saved.pictures.values())):
        if not is_plain(name):
            raise InputError(
                f"the saved composition names an input {name[:60]!r}, which is not the name of "
                "a file"
            )
    Options.read(saved.settings)
    parse(saved.expression, operators)
    items = {
        name: _read_input(name, one, saved.stack, stack, dim) for name, one in saved.inputs.items()
    }
    pictures: dict[str, StoredItem] = {
        setting: _read_picture(one.name, one.picture, stack, dim)
        for setting, one in saved.pictures.items()
    }
    return OpenedComposition(saved.expression, saved.settings, items, pictures)


def _read_picture(name: str, picture: str, stack: str, dim: int) -> StoredItem:
    """Read a picture in base64; its name is kept, whatever it ends in."""
    try:
        content = base64.b64decode(picture, validate=True)
    except ValueError as error:
        raise InputError(
            f"{name} is cut short or damaged in the saved composition: save it again"
        ) from error
    return replace(read_upload(content, name, stack, dim), name=name, expression=repr(name))


def _read_input(name: str, saved: SavedInput, made_by: str, stack: str, dim: int) -> StoredItem:
    if saved.embedding is None:
        return _read_picture(name, saved.picture or "", stack, dim)
    if made_by != stack or len(saved.embedding) != dim:
        raise InputError(
            f"{name} is an embedding of the stack {made_by}, but this studio has {stack}"
        )
    embeds = torch.tensor([saved.embedding], dtype=torch.float32)
    known = Embeddings(embeds, stack, (repr(name),))
    return StoredItem("embedding", name, embedding=known, expression=repr(name))
