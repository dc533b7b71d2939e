"""What several commands do: load a stack, look at inputs, and lay a result out as an equation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.compose.nodes import Call
from pops.errors import InputError
from pops.figures import Cell
from pops.io.files import EMBEDDING_SUFFIXES
from pops.io.pictures import open_picture
from pops.operators import Operator
from pops.settings.groups import CompiledConfig, OwnOperators, SamplingConfig, StackConfig

if TYPE_CHECKING:
    from pops.engine import Engine

__all__ = [
    "EMBEDDING",
    "LEFT_OUT",
    "Input",
    "captioned",
    "equation",
    "input_name",
    "load",
    "preview",
    "seed_pairs",
]

Input = Path | Call | None  # a file, a text, or nothing
# In place of the picture of an input.
EMBEDDING, LEFT_OUT = "embedding", "left out"


def load(config: StackConfig) -> Engine:
    """Make the engine that the settings ask for, and say what is loaded.

    Args:
        config: the settings of the command.

    Returns:
        The engine.
    """
    print(f"loading {config.stack}", file=sys.stderr)
    compiled = isinstance(config, CompiledConfig) and config.compile
    if compiled:
        print("compiling: the first step of each new size takes minutes", file=sys.stderr)
    from pops.engine import Engine

    return Engine.load(
        config.stack,
        config.device,
        config.dtype,
        offload=config.offload,
        compiled=compiled,
        operator_folders=config.operators if isinstance(config, OwnOperators) else (),
    )


def preview(source: Input) -> Image.Image | str:
    """Open an input as a strip shows it.

    Args:
        source: a picture or an embedding file, a text, or None for an input that is left out.

    Returns:
        The picture; or words, in place of what is yet to be rendered or of nothing.

    Raises:
        InputError: the file is missing, or is no picture.
    """
    if source is None:
        return LEFT_OUT
    if isinstance(source, Call):
        return EMBEDDING
    if source.suffix.lower() not in EMBEDDING_SUFFIXES:
        return open_picture(source)
    if not source.is_file():
        raise InputError(f"no such file: {source}; check the name")
    return EMBEDDING


def input_name(source: Input) -> str | None:
    """Name an input, as it is written under its picture.

    Args:
        source: a file, a text, or None for an input that is left out.

    Returns:
        The name of the file without its ending, or the text; None for None.
    """
    if isinstance(source, Call):
        return str(source.values["words"])
    return None if source is None else source.stem


def equation(
    operator: Operator,
    request: Sequence[Input],
    inputs: Sequence[Image.Image | str],
    text: str | None,
    results: Sequence[Cell],
) -> list[Cell]:
    """Lay out `input + input → results` as the cells of one strip.

    Args:
        operator: the row of the operator.
        request: the files or texts of its inputs, None for one that is left out.
        inputs: the pictures of its inputs, or words in their place.
        text: the text, for an operator that takes one.
        results: the cells of the results.

    Returns:
        The cells from left to right.
    """
    slots = operator.inputs[: len(request)]
    row = [
        Cell(image, input_name(source) or "", slot, sign="plus")
        for image, source, slot in zip(inputs, request, slots, strict=True)
    ]
    if text is not None:
        row.append(Cell(text, note="text", sign="plus"))
    return [replace(row[0], sign=None), *row[1:], replace(results[0], sign="arrow"), *results[1:]]


def captioned(config: SamplingConfig, pictures: Iterable[Image.Image]) -> list[Cell]:
    """Write the seeds under the results of one request.

    Args:
        config: the settings of the command.
        pictures: the pictures of the results.

    Returns:
        The cells of the results.
    """
    several = len(config.render_seeds) > 1
    return [
        Cell(picture, note=f"seed {seed}" + (f", render seed {render_seed}" if several else ""))
        for (seed, render_seed), picture in zip(seed_pairs(config), pictures, strict=True)
    ]


def seed_pairs(config: SamplingConfig) -> list[tuple[int, int]]:
    """List the seeds of all pictures of one request.

    Args:
        config: the settings of the command.

    Returns:
        The seed of the operator and that of the renderer, for every picture.
    """
    return [(seed, render) for seed in config.seeds for render in config.render_seeds]
