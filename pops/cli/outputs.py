"""The checks of `pops run`, and the files that it writes: embeddings, pictures, figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from pops.compose.nodes import Apply, Call, Leaf, Node, Value, first_leaf, plain_number
from pops.compose.plan import Plan, leaf_name, open_leaf
from pops.errors import InputError, NotFiniteError, UsageError, check_known
from pops.figures import Cell
from pops.io.files import EMBEDDING_SUFFIXES
from pops.io.names import distinct_names, name_of_words
from pops.io.pictures import save_picture
from pops.operators import Operator
from pops.render import find_renderer
from pops.settings.commands import RunConfig

if TYPE_CHECKING:
    from pops.compose.draw import Pictures, Render
    from pops.compose.run import Result
    from pops.io.sources import Source

__all__ = [
    "DEPTH_NEEDED",
    "Previews",
    "RunFiles",
    "depth_sources",
    "given_weights",
    "input_words",
    "keeps_depth",
    "part_names",
]

DEPTH_NEEDED = "--renderer {} keeps the depth of the first input: give one"

Trees = Literal["auto", "all", "none"]


class Previews:
    """Opens each picture of a composition once, before anything is loaded, as figures show it."""

    def __init__(self) -> None:
        self.pictures: Pictures = {}
        self.skipped: list[str] = []

    def open(self, leaf: Leaf) -> None:
        """Open a picture, unless it is open already or the leaf is an embedding.

        Args:
            leaf: a source of the composition.

        Raises:
            InputError: the picture cannot be opened; the error shows its place.
        """
        if (leaf, 0) not in self.pictures and (picture := open_leaf(leaf)) is not None:
            self.pictures[leaf, 0] = picture

    def usable(self, leaf: Leaf) -> bool:
        """Check whether a file of a folder can be used; if not, the reason goes to `skipped`.

        Args:
            leaf: the file.

        Returns:
            Whether it can be used.
        """
        try:
            self.open(leaf)
            if _is_embedding(leaf):
                from pops.io.embeddings import load_embeddings

                load_embeddings(str(leaf.source))
        except InputError as error:
            self.skipped.append(str(error.at(None)))
            return False
        return True


def given_weights(config: RunConfig, plan: Plan) -> dict[str, str]:
    """Look up the weights that are given for the operators of a composition.

    Args:
        config: the settings of the command.
        plan: the composition made ready.

    Returns:
        The weights by the name of the operator.

    Raises:
        UsageError: an operator is unknown, or not in the composition.
    """
    used = {node.operator for node in plan.nodes if isinstance(node, Apply)}
    for name in config.weights_of:
        check_known("operator", name, plan.operators)
        if name not in used:
            raise UsageError(f"--weights names {name}, which is not in the composition")
    return config.weights_of


def keeps_depth(renderer: str) -> bool:
    """Tell whether a renderer keeps the depth of a picture; imports its module.

    Args:
        renderer: the name of the renderer.

    Returns:
        Whether it does.
    """
    return find_renderer(renderer).takes_depth


def depth_sources(config: RunConfig, plan: Plan) -> dict[Node, Source] | None:
    """Choose the picture whose depth each result keeps, which is its first input.

    Args:
        config: the settings of the command.
        plan: the composition made ready.

    Returns:
        The sources by result; None where the renderer keeps no depth.

    Raises:
        UsageError: a result has no input.
    """
    if not keeps_depth(config.renderer):
        return None
    leaves = {node: first_leaf(node) for node in plan.results}
    if None in leaves.values():
        raise UsageError(DEPTH_NEEDED.format(config.renderer))
    return {node: leaf.source for node, leaf in leaves.items() if leaf is not None}


class RunFiles:
    """Writes the files of a result, under names of their own.

    Args:
        result: what a composition gave.
    """

    def __init__(self, result: Result) -> None:
        self.result = result
        self.names = part_names(result.plan)
        self.left_out: list[str] = []
        self.lost: list[str] = []

    def name(self, node: Node, row: int) -> str:
        """Name the file of one row of a part.

        Args:
            node: the part.
            row: the row, which is one seed.

        Returns:
            The name, without ending.
        """
        seeds = self.result[node].seeds
        return self.names[node] + (f"_s{seeds[row]}" if seeds else "")

    def save_embeddings(self, folder: Path) -> None:
        """Write a file for each row of each part, but for inputs that are such files already.

        Args:
            folder: the folder to write into.
        """
        for node, rows in self.result.parts.items():
            if not _is_embedding(node):
                for row in self.result.of(node):
                    rows[row].save(folder / f"{self.name(node, row)}.safetensors")

    def save_pictures(
        self,
        folder: Path,
        pictures: Mapping[tuple[Node, int], Sequence[Image.Image]],
        seeds: Sequence[int],
    ) -> None:
        """Write the pictures of the results.

        Args:
            folder: the folder to write into.
            pictures: by the part and row of each result, one picture for each seed of the renderer.
            seeds: the seeds of the renderer.
        """
        for (node, row), drawn in pictures.items():
            for seed, picture in zip(seeds, drawn, strict=True):
                save_picture(picture, folder / f"{self.name(node, row)}_r{seed}.png")

    def cells(
        self,
        pictures: Mapping[tuple[Node, int], Sequence[Image.Image]],
        seeds: Sequence[int],
    ) -> list[Cell]:
        """Caption the pictures of the results.

        Args:
            pictures: by the part and row of each result, one picture for each seed of the renderer.
            seeds: the seeds of the renderer.

        Returns:
            A cell for each picture, with its part and its seeds.
        """
        cells = []
        for (node, row), drawn in pictures.items():
            own = self.result.parts[node].seeds
            seeded = f"seed {own[row]}, " if own else ""
            cells += [
                Cell(picture, str(node), f"{seeded}render seed {seed}")
                for seed, picture in zip(seeds, drawn, strict=True)
            ]
        return cells

    def figures(self, shown: Pictures, render: Render, trees: Trees) -> dict[str, Image.Image]:
        """Draw the grid of folders and the trees that are asked for.

        The reason why a figure could not be drawn goes to `left_out`, or to `lost` where a picture
        in it is not finite: the results are worth more.

        Args:
            shown: the pictures of leaves and results.
            render: makes the other pictures that trees show.
            trees: which trees are asked for.

        Returns:
            The figures by file name.
        """
        from pops.compose.draw import draw_grids, draw_tree

        result = self.result
        figures: dict[str, Image.Image] = {}
        name = self.names[result.plan.composition]
        if result.plan.axes:
            with self._leaving_out(f"{name}.jpg"):
                for seed, figure in draw_grids(result, shown).items():
                    figures[f"{name}{'' if seed is None else f'_s{seed}'}.jpg"] = figure
        if trees == "all" or (trees == "auto" and not result.plan.axes):
            for at, node in enumerate(result.plan.results):
                for row in result.of(node):
                    name = f"{self.name(node, row)}_tree.jpg"
                    with self._leaving_out(name):
                        figures[name] = draw_tree(result, render, shown, at=at, row=row)
        return figures

    def animations(self, shown: Pictures) -> dict[str, list[Image.Image]]:
        """Draw the frames of moving pictures of the last range.

        Args:
            shown: the pictures of the results.

        Returns:
            The frames by the name of their file, without ending.
        """
        from pops.compose.draw import draw_frames

        result = self.result
        drawn = draw_frames(result, shown)
        several = any(first for first, _ in drawn)
        named: dict[str, list[Image.Image]] = {}
        for (first, row), frames in drawn.items():
            node = result.plan.results[first]
            seeds = result[node].seeds
            whole = self.names[node if several else result.plan.composition]
            named[whole + (f"_s{seeds[row]}" if seeds else "")] = frames
        return named

    @contextmanager
    def _leaving_out(self, name: str) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            self.left_out.append(f"{name}: {error}")
        except NotFiniteError as error:
            self.lost.append(str(error))


def part_names(plan: Plan) -> dict[Node, str]:
    """Give every part of a plan a file name that no other part has.

    Args:
        plan: the composition made ready.

    Returns:
        The names, without ending, by part.
    """
    nodes = list(dict.fromkeys([*reversed(plan.nodes), plan.composition]))
    names = [
        name_of_words([*(["input"] if isinstance(node, Leaf) else []), *_part_words(node, plan)])
        for node in nodes
    ]
    return dict(zip(nodes, distinct_names(names), strict=True))


def input_words(operator: Operator, names: Sequence[str | None]) -> list[str]:
    """Name the inputs of an operator, as they stand in a file name.

    Args:
        operator: the row of the operator.
        names: the name of each input, None for one that is left out.

    Returns:
        The names in order, `none` for one that is left out; of an operator with many slots only
        those that are given, with the slot where its place does not tell it.
    """
    if operator.min_inputs is None:
        return [name or "none" for name in names]
    gap = None in names
    return [
        name if not gap or name.startswith(slot) else f"{slot}-{name}"
        for slot, name in zip(operator.inputs, names, strict=False)
        if name is not None
    ]


def _part_words(node: Node, plan: Plan) -> list[str]:
    """List the operators and files of a part, in the order they are written in."""
    if isinstance(node, Leaf):
        return [leaf_name(node)]
    words = [name_of_words(_part_words(made, plan)) if made else None for made in node.inputs]
    if isinstance(node, Call):
        said = (_value_word(argument.value) for argument in node.arguments)
        return [node.function, *(word or "none" for word in words), *said]
    operator = plan.operators[node.operator]
    said = (f"{argument.name}-{_value_word(argument.value)}" for argument in node.arguments)
    return [operator.name, *input_words(operator, words), node.text or "", *said]


def _value_word(value: Value) -> str:
    if isinstance(value, tuple):
        return "-".join(map(_value_word, value))
    return plain_number(value) if isinstance(value, int | float) else str(value)


def _is_embedding(node: Node) -> bool:
    path = node.source if isinstance(node, Leaf) else None
    return isinstance(path, Path) and path.suffix.lower() in EMBEDDING_SUFFIXES
