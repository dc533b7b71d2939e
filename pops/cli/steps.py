"""Steps of several commands: load a stack, look at inputs, lay a result out as an equation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.compose.nodes import Call
from pops.errors import InputError, NotFiniteError
from pops.figures import Cell
from pops.io.files import EMBEDDING_SUFFIXES
from pops.io.pictures import open_picture
from pops.operators import Operator, find_operator_folders, known_operators
from pops.settings.groups import (
    CompiledConfig,
    DrawnConfig,
    OwnOperators,
    SampledConfig,
    SamplingConfig,
    StackConfig,
)

if TYPE_CHECKING:
    from pops.compose.nodes import Node
    from pops.compose.run import Result
    from pops.engine import Engine
    from pops.io.sources import Source
    from pops.settings.progress import Progress
    from pops.settings.rendering import RenderSettings

__all__ = [
    "EMBEDDING",
    "LEFT_OUT",
    "Input",
    "captioned",
    "equation",
    "input_name",
    "known_operators_of",
    "load",
    "preview",
    "render_finite",
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
    if isinstance(config, DrawnConfig):
        for picture in filter(None, (config.init, config.mask)):
            open_picture(picture)
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
        index=config.index if isinstance(config, DrawnConfig) else None,
        sdxl=config.sdxl if isinstance(config, DrawnConfig) else None,
    )


def known_operators_of(config: SampledConfig) -> dict[str, Operator]:
    """List the operators that are known by name, before torch is imported.

    Args:
        config: the settings of the command.

    Returns:
        The rows of the table, of a stack in a folder, and of the folders that are named.
    """
    home = Path(config.stack) / "operators"
    of_stack = find_operator_folders([home]) if any(home.glob("*/operator.json")) else {}
    named = find_operator_folders(config.operators) if isinstance(config, OwnOperators) else {}
    return known_operators({**of_stack, **named}.values())


def render_finite(
    engine: Engine,
    result: Result,
    rendering: RenderSettings,
    progress: Progress,
    first: Mapping[Node, Source] | None = None,
) -> tuple[dict[tuple[Node, int], list[Image.Image]], str | None]:
    """Render results; where some give pictures that are not finite, the others alone.

    Args:
        engine: what renders.
        result: what a composition gave.
        rendering: how it is rendered.
        progress: called with the name of the work, what is done, and all that is to be done.
        first: for a renderer that keeps depth, the source whose depth each result keeps.

    Returns:
        By the part and row of each result its pictures, one for each seed; and why some are
        missing, or None where all are there.

    Raises:
        NotFiniteError: no result gives finite pictures.
    """
    keys, made = result.keys, result.embeddings

    def render(rows: Sequence[int]) -> list[Image.Image]:
        depth = None if first is None else [first[keys[row][0]] for row in rows]
        return engine.render(made[rows], depth_of=depth, progress=progress, **vars(rendering))

    rows, why = list(range(len(keys))), None
    try:
        pictures = render(rows)
    except NotFiniteError as error:
        rows, why = [row for row in rows if row not in error.rows], str(error)
        if not rows:
            raise
        pictures = render(rows)
    each = len(rendering.seeds)
    return {keys[row]: pictures[at * each : (at + 1) * each] for at, row in enumerate(rows)}, why


def preview(source: Input) -> Image.Image | str:
    """Open an input as a strip shows it.

    Args:
        source: a picture or an embedding file, a text, or None for an input that is left out.

    Returns:
        The picture; or words, in place of what is yet to be rendered or of nothing.

    Raises:
        InputError: the file is missing, or is not a picture.
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
