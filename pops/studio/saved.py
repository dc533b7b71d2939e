"""Compositions in one file: the expression, the settings, and every input within it, as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
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
from pops.studio.store import StoredItem, is_plain
from pops.studio.uploads import read_upload

__all__ = ["open_composition", "save_composition"]

FORMAT = "pops-composition-1"
MOST_INPUTS = 64


class SavedInput(Schema):
    """One input: a PNG picture in base64, or an embedding."""

    picture: str | None = None
    embedding: list[Finite] | None = None


class SavedComposition(Schema):
    """The content of the file."""

    format: Literal["pops-composition-1"]
    stack: Text
    expression: Text
    settings: dict[str, Any]
    inputs: dict[str, SavedInput]


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
    }


def open_composition(
    content: bytes, stack: str, dim: int, operators: Operators = OPERATORS
) -> tuple[str, dict[str, Any], dict[str, StoredItem]]:
    """Read such a file; every input is checked as an upload is.

    Args:
        content: The file.
        stack: The name of the stack that the inputs are for.
        dim: The numbers of an embedding.
        operators: What the composition may apply.

    Returns:
        The expression, the settings, and the inputs by their names.

    Raises:
        InputError: It is not such a file, is of another stack, or one of its inputs cannot be used.
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
    for name in saved.inputs:
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
    return saved.expression, saved.settings, items


def _read_input(name: str, saved: SavedInput, made_by: str, stack: str, dim: int) -> StoredItem:
    if saved.embedding is None:
        try:
            picture = base64.b64decode(saved.picture or "", validate=True)
        except ValueError as error:
            raise InputError(
                f"{name} is cut short or damaged in the saved composition: save it again"
            ) from error
        return replace(read_upload(picture, name, stack, dim), name=name, expression=repr(name))
    if made_by != stack or len(saved.embedding) != dim:
        raise InputError(
            f"{name} is an embedding of the stack {made_by}, but this studio has {stack}"
        )
    embeds = torch.tensor([saved.embedding], dtype=torch.float32)
    known = Embeddings(embeds, stack, (repr(name),))
    return StoredItem("embedding", name, embedding=known, expression=repr(name))
