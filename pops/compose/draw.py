"""Draw how the results of a composition were made: trees, and the grids of folders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from PIL import Image, ImageOps

from pops.compose.calls import FUNCTIONS
from pops.compose.nodes import Apply, Argument, Call, Leaf, Node, Sweep, plain_number
from pops.compose.plan import Setting, is_range, leaf_name, open_leaf
from pops.compose.run import Result
from pops.errors import UsageError
from pops.figures import WIDEST, Branch, Cell, grid, strips, tree
from pops.io.embeddings import Embeddings

__all__ = [
    "NOT_FINITE",
    "Pictures",
    "Render",
    "by_names",
    "draw_frames",
    "draw_grids",
    "draw_tree",
    "head",
]

LARGEST_SIDE = 20_000  # pixels of a figure: well under what picture files hold
LARGEST_AREA = 100_000_000
TREE_SIZES = range(168, 47, -8)  # of a tree's pictures; smaller where it is large
GRID_SIZES = range(192, 47, -8)
NOT_FINITE = "not finite"  # stands in a grid in place of a result that could not be made or drawn
STRIP_SIZES = range(224, 47, -8)
FRAME_SIZE = 256
FEW_TEXTS = 3  # of a list that a tree writes out
Render = Callable[[Embeddings], list[Image.Image]]
Pictures = dict[tuple[Node, int], Image.Image]  # of the rows of nodes


def draw_tree(
    result: Result, render: Render, shown: Pictures | None = None, *, at: int = 0, row: int = 0
) -> Image.Image:
    """Draw how a result was made, with every part of it rendered.

    Args:
        result: what a composition gave.
        render: gives one picture for each embedding.
        shown: the pictures of parts that are there already, by node and row; those that are
            rendered or opened for the tree are added to it.
        at: the number of the result.
        row: the number of its seed.

    Returns:
        The tree.

    Raises:
        UsageError: the tree is too large for a picture file.
    """
    root = result.plan.results[at]
    size = _largest(TREE_SIZES, lambda size: _tree_sides(root, size))
    shown = {} if shown is None else shown
    drawn = list(dict.fromkeys(_drawn(result, root, row)))
    for key in drawn:
        if key not in shown and isinstance(key[0], Leaf):
            picture = open_leaf(key[0])
            shown |= {key: picture} if picture else {}
    missing = [key for key in drawn if key not in shown]
    if missing:
        rows = torch.cat([result.parts[node][row].image_embeds for node, row in missing])
        names = tuple(str(node) for node, _ in missing)
        made = Embeddings(rows, result.parts[root].stack, names)
        shown.update(zip(missing, render(made), strict=True))
    note = f"seed {result.seeds[row]}" if result.parts[root].seeds else ""
    return tree(_branch(result, root, row, note, shown), size)


def _drawn(result: Result, node: Node, row: int) -> Iterator[tuple[Node, int]]:
    """List all that the tree of a node shows: nodes, each with the row that the seed has there."""
    row = min(row, len(result.parts[node]) - 1)
    yield node, row
    for made in node.inputs:
        if made is not None:
            yield from _drawn(result, made, row)


def _branch(result: Result, node: Node | None, row: int, note: str, shown: Pictures) -> Branch:
    if node is None:
        return Branch(Cell("left out", note=note))
    row = min(row, len(result.parts[node]) - 1)
    if isinstance(node, Leaf):
        return Branch(Cell(shown[node, row], leaf_name(node), note))
    if isinstance(node, Call):
        made_by, optional = node.function, False
        notes: Sequence[str] = FUNCTIONS[node.function].notes(node)
    else:
        operator = result.plan.operators[node.operator]
        made_by, optional, notes = operator.name, operator.min_inputs is not None, operator.inputs
        if node.strength != 1:
            made_by += f" {_number(node.strength)}"
    inputs = [
        _branch(result, made, row, slot, shown)
        for made, slot in zip(node.inputs, notes, strict=False)
        if made is not None or not optional  # of many slots, those left out are not shown
    ]
    inputs += [Branch(Cell(words, note=name)) for name, words in _texts(node)]
    return Branch(Cell(shown[node, row], note=note), made_by, tuple(inputs))


def _texts(node: Node) -> list[tuple[str, str]]:
    """List the texts that a node is given, each with the name of its argument."""
    if isinstance(node, Apply):
        return [] if node.text is None else [("text", f"“{node.text}”")]
    return [(one.name, _quoted(one)) for one in node.arguments if _is_text(one)]


def _is_text(argument: Argument) -> bool:
    value = argument.value
    return isinstance(value, str) or (isinstance(value, tuple) and isinstance(value[0], str))


def _quoted(argument: Argument) -> str:
    several = argument.value if isinstance(argument.value, tuple) else (argument.value,)
    more = f" and {len(several) - FEW_TEXTS} more" if len(several) > FEW_TEXTS else ""
    return ", ".join(f"“{one}”" for one in several[:FEW_TEXTS]) + more


def _number(value: float | Sweep) -> str:
    return str(value) if isinstance(value, Sweep) else plain_number(value)


def _tree_sides(root: Node, size: int) -> tuple[int, int]:
    return root.depth * (size + 220) + 2 * size, _tips(root) * (size + 80) + size


def _tips(node: Node | None) -> int:
    """List the inputs that a tree shows, texts and left-out ones too."""
    if node is None or isinstance(node, Leaf):
        return 1
    return sum(map(_tips, node.inputs)) + len(_texts(node))


def draw_grids(result: Result, shown: Pictures) -> dict[int | None, Image.Image]:
    """Draw the results of folders and ranges as tables by seed.

    Those of a single folder are one table with a column for each seed, those of a single range one
    strip with a row for each seed. Columns that go beyond the widest row go on below. Each figure
    names the composition, and so what is fixed in it.

    Args:
        result: what a composition gave.
        shown: the pictures of the leaves, where they have one, and of each of `result.keys` that
            could be drawn.

    Returns:
        The figures by seed; a single one under None.

    Raises:
        UsageError: a figure is too large for a picture file.
    """
    *outer, last = result.plan.axes
    seeds = [f"seed {seed}" for seed in result.seeds] if result.embeddings.seeds else [""]
    pictures: list[Image.Image | str] = []
    for node in result.plan.results:
        drawn = [shown.get((node, row), NOT_FINITE) for row in result.of(node)]
        pictures += drawn or [NOT_FINITE] * len(seeds)
    per_seed = [list(pictures[row :: len(seeds)]) for row in range(len(seeds))]
    title = str(by_names(result.plan.composition))
    if not outer and is_range(last):
        return {None: _strip(per_seed, list(map(str, last)), seeds, title)}
    columns = [head((item,), shown) for item in last]
    titles = [f"{title}, {seed}" if seed else title for seed in seeds]
    if outer:
        heads = [head(items, shown) for items in itertools.product(*outer)]
    else:
        heads, columns, per_seed, titles = columns, list(seeds), [pictures], [title]

    def sides(size: int) -> tuple[int, int]:
        each = max(1, (WIDEST - size) // (size + 16))  # columns before the table goes on below
        across, bands = min(len(columns), each) + 1, -(-len(columns) // each)
        return across * (size + 70), bands * (len(heads) + 1) * (size + 70)

    size = _largest(GRID_SIZES, sides)
    tables = [
        grid(
            [table[at : at + len(columns)] for at in range(0, len(table), len(columns))],
            heads,
            columns,
            size,
            above,
            WIDEST,
        )
        for table, above in zip(per_seed, titles, strict=True)
    ]
    return dict(zip(result.seeds if len(tables) > 1 else (None,), tables, strict=True))


def draw_frames(result: Result, shown: Pictures) -> dict[tuple[int, int], list[Image.Image]]:
    """Draw the values of a range as the frames of moving pictures, each with its caption.

    The last range of the composition moves; of the other folders and ranges, and of the seeds, each
    combination is a moving picture of its own.

    Args:
        result: what a composition with a range gave.
        shown: the pictures of those of `result.keys` that could be drawn.

    Returns:
        The frames by the number of their first result and the row of their seed; those whose
        results are not all finite are left out.
    """
    axes = result.plan.axes
    moving = max(at for at, axis in enumerate(axes) if is_range(axis))
    step = prod(len(axis) for axis in axes[moving + 1 :])
    frames: dict[tuple[int, int], list[Image.Image]] = {}
    for first in range(len(result.plan.results)):
        if first // step % len(axes[moving]):
            continue
        nodes = [result.plan.results[first + at * step] for at in range(len(axes[moving]))]
        for row in range(min(len(result.of(node)) for node in nodes)):
            if any((node, row) not in shown for node in nodes):  # its picture is not finite
                continue
            seed = result.parts[nodes[0]].seeds[row : row + 1]
            note = f"seed {seed[0]}" if seed else ""
            frames[first, row] = [
                strips([[Cell(shown[node, row], str(value), note)]], FRAME_SIZE)
                for node, value in zip(nodes, axes[moving], strict=True)
            ]
    return frames


def _strip(
    per_seed: Sequence[Sequence[Image.Image | str]],
    values: Sequence[str],
    seeds: Sequence[str],
    title: str,
) -> Image.Image:
    """Draw the results of one range, a row for each seed."""
    rows = [
        [Cell(picture, value, seed) for picture, value in zip(row, values, strict=True)]
        for row, seed in zip(per_seed, seeds, strict=True)
    ]

    def sides(size: int) -> tuple[int, int]:
        lines = len(rows) * (1 + len(values) * (size + 16) // WIDEST)
        return WIDEST + 64, lines * (size + 90)

    return strips(rows, _largest(STRIP_SIZES, sides), title)


def by_names(node: Node) -> Node:
    """Name the files of a composition without their folders.

    Args:
        node: the composition.

    Returns:
        The same with shorter names, to be read and not to be run.
    """
    if isinstance(node, Leaf):
        return Leaf(node.source.name) if isinstance(node.source, Path) else node
    inputs = tuple(None if made is None else by_names(made) for made in node.inputs)
    return replace(node, inputs=inputs)  # type: ignore[arg-type]


def head(items: Sequence[Leaf | Setting], shown: Pictures) -> str | Cell:
    """Make the label of a row or column: the names, under the pictures where all have one.

    Args:
        items: a choice from each axis: files of folders, and values of ranges.
        shown: the pictures of the leaves that have one.

    Returns:
        The names, or a cell with the pictures.
    """
    names = " · ".join(leaf_name(one) if isinstance(one, Leaf) else str(one) for one in items)
    leaves = [one for one in items if isinstance(one, Leaf)]
    pictures = [shown[leaf, 0] for leaf in leaves if (leaf, 0) in shown]
    if len(pictures) < len(leaves) or not leaves:
        return names
    if len(pictures) == 1:
        return Cell(pictures[0], names)
    side = min(min(picture.size) for picture in pictures)
    row = Image.new("RGB", (side * len(pictures), side))
    for at, picture in enumerate(pictures):
        row.paste(ImageOps.fit(picture, (side, side)), (at * side, 0))
    return Cell(row, names)


def _largest(sizes: Sequence[int], sides: Callable[[int], Sequence[int]]) -> int:
    """Find the first of `sizes` of pictures that makes a figure of a sensible size."""
    for size in sizes:
        width, height = sides(size)
        if max(width, height) <= LARGEST_SIDE and width * height <= LARGEST_AREA:
            return size
    raise UsageError("the figure would be too large for a picture file: ask for fewer results")
