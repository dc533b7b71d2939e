"""Compositions run: the embeddings of all their parts, and figures of how results were made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from PIL import Image, ImageOps
from torch import Tensor

from pops.compose.nodes import Apply, Leaf, Mean, Node
from pops.compose.parse import parse
from pops.compose.plan import Plan, Step, leaf_name, open_leaf
from pops.errors import NotFiniteError, UsageError
from pops.figures import Branch, Cell, grid, tree
from pops.io.embeddings import Embeddings
from pops.io.requests import not_finite
from pops.settings.sampling import SamplingSettings

if TYPE_CHECKING:
    from pops.io.sources import Source
    from pops.settings.progress import Progress
    from pops.stacks.stack import Stack

__all__ = ["Pictures", "Render", "Result", "draw_grids", "draw_tree", "run_plan"]

LARGEST_SIDE = 20_000  # pixels of a figure: well under what picture files hold
LARGEST_AREA = 100_000_000
TREE_SIZES = range(168, 47, -8)  # of a tree's pictures; smaller where it is large
GRID_SIZES = range(192, 47, -8)
Render = Callable[[Embeddings], list[Image.Image]]
Pictures = dict[tuple[Node, int], Image.Image]  # of the rows of nodes


@dataclass(frozen=True, repr=False)
class Result:
    """The embeddings that a composition gave.

    Args:
        plan: the composition made ready.
        seeds: the seeds of the run.
        parts: for every distinct node one row for each seed, or a single row where no operator is
            in it and seeds make no difference.
        lost: why parts are missing, since their embeddings or those of their inputs are not finite.
    """

    plan: Plan
    seeds: tuple[int, ...]
    parts: Mapping[Node, Embeddings]
    lost: Mapping[Node, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say in a line what was made."""
        return f"<Result of {self.plan.composition}: {self.embeddings!r}>"

    def _repr_png_(self) -> bytes | None:
        """Show the results in a notebook."""
        return self.embeddings._repr_png_()

    @property
    def embeddings(self) -> Embeddings:
        """The results: for each combination of the plan's axes, the last fastest, each seed."""
        found = [self.parts[node][row] for node, row in self.keys]
        return replace(
            found[0],
            image_embeds=torch.cat([one.image_embeds for one in found]),
            expressions=tuple(one.expressions[0] for one in found),
            seeds=tuple(seed for one in found for seed in one.seeds),
        )

    @property
    def keys(self) -> list[tuple[Node, int]]:
        """The part and the row of it that each of `embeddings` is."""
        return [(node, row) for node in self.plan.results for row in self.of(node)]

    def __getitem__(self, part: Node | str) -> Embeddings:
        """The embeddings of a part, given as a node or as text. KeyError if it is none."""
        return self.parts[parse(part, self.plan.operators) if isinstance(part, str) else part]

    def of(self, node: Node) -> range:
        """List the rows of a part: as many as there are seeds, one, or none where it is lost.

        Args:
            node: the part.

        Returns:
            The numbers of the rows.
        """
        return range(0 if node in self.lost else len(self.parts[node]))


class AppliesOperators(Protocol):
    """The part of the engine that runs a composition."""

    @property
    def stack(self) -> Stack: ...

    def encode(self, sources: Sequence[Source], progress: Progress | None = None) -> Embeddings: ...

    def apply(
        self,
        operator: str,
        inputs: Sequence[Sequence[Source | None]],
        *,
        text: str | Sequence[str | None] | None = None,
        seeds: Sequence[int] | Sequence[Sequence[int]] = ...,
        guidance: float | None = None,
        steps: int = ...,
        sampler: str = ...,
        weights: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Embeddings: ...


def run_plan(
    engine: AppliesOperators,
    plan: Plan,
    sampling: SamplingSettings,
    weights: Mapping[str, str | Path],
    progress: Progress | None = None,
) -> Result:
    """Encode the inputs of a plan, then sample its operators step by step.

    Args:
        engine: what encodes and applies operators.
        plan: the composition made ready.
        sampling: how each operator is sampled.
        weights: for some operators, by name, weights in place of the stack's own.
        progress: called with the name of the work, what is done, and all that is to be done.

    Returns:
        The embeddings of every part.

    Raises:
        UsageError: an operator is unknown or its inputs do not fit; nothing is loaded then.
        NotFiniteError: no result is finite. Where some are, the others are left out.
    """
    for node in plan.nodes:
        if isinstance(node, Apply):
            operator = engine.stack.operator_row(node.operator, weights.get(node.operator))
            operator.check_inputs(len(node.inputs), node.text)
    known = engine.encode([leaf.source for leaf in plan.leaves], progress)
    parts: dict[Node, Embeddings] = dict(zip(plan.leaves, known, strict=True))
    lost: dict[Node, str] = {}
    for step in plan.steps:
        for node in step.nodes:
            for made in node.inputs:
                if made in lost:
                    lost[node] = lost[made]
        while nodes := tuple(node for node in step.nodes if node not in lost):
            try:
                rest = replace(step, nodes=nodes)
                parts |= (
                    _sample(engine, rest, parts, sampling, weights, progress)
                    if step.operator
                    else _means(rest, parts)
                )
                break
            except NotFiniteError as error:  # the rest of the step goes on
                lost |= {nodes[at]: str(error) for at in error.rows}
    if lost.keys() >= set(plan.results):
        raise NotFiniteError(lost[plan.results[0]], range(len(plan.results)))
    return Result(plan, sampling.seeds, parts, lost)


def _sample(
    engine: AppliesOperators,
    step: Step,
    parts: Mapping[Node, Embeddings],
    sampling: SamplingSettings,
    weights: Mapping[str, str | Path],
    progress: Progress | None,
) -> dict[Node, Embeddings]:
    """The nodes of one operator, for every seed, in one call.

    A node whose inputs are the same for all seeds is one request with all seeds; else it is one
    request for each seed, with what its inputs are for that seed.
    """
    requests: list[list[Tensor | None]] = []
    texts: list[str | None] = []
    seeds: list[tuple[int, ...]] = []
    asked: list[Node] = []
    for node in step.nodes:
        given = [None if made is None else parts[made].image_embeds for made in node.inputs]
        rows = max((len(one) for one in given if one is not None), default=1)
        requests += [
            [None if one is None else one[min(row, len(one) - 1)] for one in given]
            for row in range(rows)
        ]
        asked += [node] * rows
        texts += [node.text if isinstance(node, Apply) else None] * rows
        seeds += [sampling.seeds] if rows == 1 else [(seed,) for seed in sampling.seeds]
    try:
        made = engine.apply(
            step.operator or "",
            requests,
            text=texts,
            weights=weights.get(step.operator or ""),
            progress=progress,
            **{**vars(sampling), "seeds": seeds},
        )
    except NotFiniteError as error:  # named by what is in the composition
        faulty = sorted({step.nodes.index(asked[row]) for row in error.rows})
        raise not_finite([str(node) for node in step.nodes], faulty) from None
    count = len(sampling.seeds)
    return {
        node: replace(made[at * count : (at + 1) * count], expressions=(str(node),) * count)
        for at, node in enumerate(step.nodes)
    }


def _means(step: Step, parts: Mapping[Node, Embeddings]) -> dict[Node, Embeddings]:
    """Rows are paired by seed; a single row goes with every one of the other input."""
    made: dict[Node, Embeddings] = {}
    for node in step.nodes:
        assert isinstance(node, Mean)
        a, b = (parts[one] for one in node.inputs)
        rows = a.image_embeds.lerp(b.image_embeds, node.weight)
        made[node] = Embeddings(rows, a.stack, (str(node),) * len(rows), a.seeds or b.seeds)
    return made


# Figures.


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
        shown: the pictures of the leaves, where they have one, and of every one of `result.keys`.

    Returns:
        The tables by seed; a single one under None.

    Raises:
        UsageError: a table is too large for a picture file.
    """
    *outer, last = result.plan.axes
    seeds = [f"seed {seed}" for seed in result.seeds] if result.embeddings.seeds else [""]
    pictures: list[Image.Image | str] = []
    for node in result.plan.results:
        drawn = [shown[node, row] for row in result.of(node)]
        pictures += drawn or ["not finite"] * len(seeds)
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
