"""Draw how the results of a composition were made: trees, and the grids of folders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from PIL import Image, ImageOps

from pops.compose.nodes import Apply, Leaf, Mean, Node
from pops.compose.plan import leaf_name, open_leaf
from pops.compose.run import Result
from pops.errors import UsageError
from pops.figures import Branch, Cell, grid, tree
from pops.io.embeddings import Embeddings

__all__ = ["Pictures", "Render", "draw_grids", "draw_tree"]

LARGEST_SIDE = 20_000  # pixels of a figure: well under what picture files hold
LARGEST_AREA = 100_000_000
TREE_SIZES = range(168, 47, -8)  # of a tree's pictures; smaller where it is large
GRID_SIZES = range(192, 47, -8)
NOT_FINITE = "not finite"  # stands in a grid in place of a result that could not be made or drawn
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
        stack = result.parts[root].stack
        shown.update(zip(missing, render(Embeddings(rows, stack)), strict=True))
    note = f"seed {result.seeds[row]}" if result.parts[root].seeds else ""
    return tree(_branch(result, root, row, note, shown), size)


def _drawn(result: Result, node: Node, row: int) -> Iterator[tuple[Node, int]]:
    """All that the tree of a node shows: nodes, each with the row that the seed has there."""
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
    if isinstance(node, Mean):
        made_by, optional = "mean", False
        notes: Sequence[str] = (f"{1 - node.weight:.0%}", f"{node.weight:.0%}")
    else:
        operator = result.plan.operators[node.operator]
        made_by, optional, notes = operator.name, operator.min_inputs is not None, operator.inputs
    inputs = [
        _branch(result, made, row, slot, shown)
        for made, slot in zip(node.inputs, notes, strict=False)
        if made is not None or not optional  # of many slots, those left out are not shown
    ]
    if isinstance(node, Apply) and node.text is not None:
        inputs.append(Branch(Cell(f"“{node.text}”", note="text")))
    return Branch(Cell(shown[node, row], note=note), made_by, tuple(inputs))


def _tree_sides(root: Node, size: int) -> tuple[int, int]:
    return root.depth * (size + 220) + 2 * size, _tips(root) * (size + 80) + size


def _tips(node: Node | None) -> int:
    """The inputs that a tree shows, texts and left-out ones too."""
    inputs = node.inputs if node else ()
    return sum(map(_tips, inputs)) + (getattr(node, "text", None) is not None) if inputs else 1


def draw_grids(result: Result, shown: Pictures) -> dict[int | None, Image.Image]:
    """Draw the results of folders as tables by seed; those of a single folder as one table with a
    column for each seed.

    Args:
        result: what a composition gave.
        shown: the pictures of the leaves, where they have one, and of each of `result.keys` that
            could be drawn.

    Returns:
        The tables by seed; a single one under None.

    Raises:
        UsageError: a table is too large for a picture file.
    """
    *outer, last = result.plan.axes
    seeds = [f"seed {seed}" for seed in result.seeds] if result.embeddings.seeds else [""]
    pictures: list[Image.Image | str] = []
    for node in result.plan.results:
        drawn = [shown.get((node, row), NOT_FINITE) for row in result.of(node)]
        pictures += drawn or [NOT_FINITE] * len(seeds)
    per_seed = [list(pictures[row :: len(seeds)]) for row in range(len(seeds))]
    columns = [_head((leaf,), shown) for leaf in last]
    if outer:
        heads = [_head(leaves, shown) for leaves in itertools.product(*outer)]
    else:
        heads, columns, per_seed = columns, list(seeds), [pictures]
    sides = len(columns), len(heads)
    size = _largest(GRID_SIZES, lambda size: tuple((n + 1) * (size + 70) for n in sides))
    tables = [
        grid(
            [table[at : at + len(columns)] for at in range(0, len(table), len(columns))],
            heads,
            columns,
            size,
        )
        for table in per_seed
    ]
    return dict(zip(result.seeds if len(tables) > 1 else (None,), tables, strict=True))


def _head(leaves: Sequence[Leaf], shown: Pictures) -> str | Cell:
    """The label of a row or column: the names, under the pictures where all have one."""
    names = " · ".join(map(leaf_name, leaves))
    pictures = [shown[leaf, 0] for leaf in leaves if (leaf, 0) in shown]
    if len(pictures) < len(leaves):
        return names
    if len(pictures) == 1:
        return Cell(pictures[0], names)
    side = min(min(picture.size) for picture in pictures)
    row = Image.new("RGB", (side * len(pictures), side))
    for at, picture in enumerate(pictures):
        row.paste(ImageOps.fit(picture, (side, side)), (at * side, 0))
    return Cell(row, names)


def _largest(sizes: Sequence[int], sides: Callable[[int], Sequence[int]]) -> int:
    """The first of `sizes` of pictures that makes a figure of a sensible size."""
    for size in sizes:
        width, height = sides(size)
        if max(width, height) <= LARGEST_SIDE and width * height <= LARGEST_AREA:
            return size
    raise UsageError("the figure would be too large for a picture file")
