"""Compositions in one file: the expression, the settings, and every input within it, as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from pops.compose.parse import parse
from pops.errors import InputError
from pops.io.embeddings import Embeddings
from pops.studio.compose import names_in
from pops.studio.options import Options
from pops.studio.store import StoredItem
from pops.studio.uploads import read_upload

__all__ = ["open_composition", "save_composition"]

FORMAT = "pops-composition-1"
MOST_INPUTS = 64


def save_composition(
    text: str, inputs: Mapping[str, StoredItem], options: Options, stack: str
) -> dict[str, Any]:
    """The content of the file. UsageError if `text` is no composition of these inputs."""
    kept = {}
    for name in names_in(parse(text)):
        item = inputs[name]
        numbers = None
        if item.embedding is not None:
            numbers = [float(number) for number in item.embedding.image_embeds[0]]
        kept[name] = {
            "picture": base64.b64encode(item.seen).decode() or None,
            "embedding": numbers,
        }
    settings = asdict(options)
    return {
        "format": FORMAT,
        "stack": stack,
        "expression": text,
        "settings": settings,
        "inputs": kept,
    }


def open_composition(
    content: bytes, stack: str, dim: int
) -> tuple[str, dict[str, Any], dict[str, StoredItem]]:
    """The expression, the settings and the inputs of a file; every input checked as an upload.

    Raises:
        InputError: it is no such file, of another stack, or one of its inputs cannot be used.
        UsageError: its settings or its expression are none.
    """
    try:
        saved = json.loads(content)
        if saved["format"] != FORMAT:
            raise KeyError("format")
        text, made_by = str(saved["expression"]), str(saved["stack"])
        settings, inputs = dict(saved["settings"]), dict(saved["inputs"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("this is no composition saved by the studio") from error
    if len(inputs) > MOST_INPUTS:
        raise InputError(f"the composition has more than {MOST_INPUTS} inputs")
    Options.read(settings)
    names_in(parse(text))
    return (
        text,
        settings,
        {name: _read_input(name, saved, made_by, stack, dim) for name, saved in inputs.items()},
    )


def _read_input(name: str, saved: Any, made_by: str, stack: str, dim: int) -> StoredItem:
    try:
        if saved["embedding"] is None:
            picture = base64.b64decode(saved["picture"], validate=True)
            return replace(read_upload(picture, name, stack, dim), name=name, expression=repr(name))
        embeds = torch.tensor([[float(number) for number in saved["embedding"]]])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: cut short or damaged in the saved composition") from error
    if made_by != stack or embeds.shape[-1] != dim or not embeds.isfinite().all():
        raise InputError(f"{name} is an embedding of the stack {made_by}, but this is {stack}")
    known = Embeddings(embeds, stack, (repr(name),))
    return StoredItem("embedding", name, embedding=known, expression=repr(name))
