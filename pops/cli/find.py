"""`pops find`: the pictures of an index that are nearest to a composition."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.cli.outputs import Previews, part_names
from pops.cli.page import write_page
from pops.cli.steps import known_operators_of, load
from pops.compose.nodes import Leaf
from pops.compose.plan import make_plan
from pops.errors import InputError
from pops.figures import Cell, strips
from pops.io.files import staged_folder
from pops.io.pictures import save_picture
from pops.search.config import FindConfig
from pops.settings.progress import ProgressBars

if TYPE_CHECKING:
    from pops.compose.draw import Pictures
    from pops.compose.run import Result
    from pops.search.exact import Hit
    from pops.search.lance import LanceIndex

__all__ = ["find"]

GONE = "gone"  # stands in the place of a picture that cannot be opened any more
SHOWN = 120  # pictures of a strip, at most


def find(config: FindConfig) -> int:
    """Run `pops find`: print what is found as a table, and draw it.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    previews = Previews()
    plan = make_plan(config.composition, previews.usable, known_operators_of(config))
    for leaf in plan.leaves:
        previews.open(leaf)
    from pops.compose.draw import by_names
    from pops.search.exact import Index

    index = Index(config.index)
    source = _lance(config) if config.lance else index
    with staged_folder(config.out) as stage:
        engine = load(config)
        index.check_stack(engine.stack)
        with closing(ProgressBars()) as progress:
            result = engine.run(plan, progress=progress, **vars(config.sampling))
        made = result.embeddings
        found = source.find(made.image_embeds, config.k)
        seeds = made.seeds or (None,) * len(made)
        titles = [
            name if seed is None else f"{name}  (seed {seed})"
            for name, seed in zip(made.expressions, seeds, strict=True)
        ]
        name = part_names(plan)[plan.composition]
        lost: dict[Path, str] = {}
        cells = [_cells(hits[:SHOWN], lost) for hits in found]
        starts = _starts(result, previews.pictures)
        rows = [_row(*one) for one in zip(starts, cells, strict=True)]
        strip = strips(rows, title=str(by_names(plan.composition)))
        save_picture(strip, stage / f"{name}.jpg")
        if config.html:
            every = [cell for each in cells for cell in each]
            write_page(stage / f"{name}.html", "find", config, [strip], every)
    if config.json:
        print(json.dumps([_plain(*pair) for pair in zip(titles, found, strict=True)]))
        return _report(lost)
    for title, hits in zip(titles, found, strict=True):
        print(title)
        for rank, hit in enumerate(hits, 1):
            print(f"{rank:>5}  {hit.score:.3f}  {hit.path}")
    print(f"{config.out / name}.jpg  (the nearest of {len(index)} pictures)")
    return _report(lost)


def _report(lost: Mapping[Path, str]) -> int:
    """Say which pictures could not be drawn, and give the exit status."""
    for reason in lost.values():
        print(f"not drawn: {reason}", file=sys.stderr)
    return 1 if lost else 0


def _lance(config: FindConfig) -> "LanceIndex":
    from pops.search.lance import LanceIndex

    return LanceIndex(config.index)


def _starts(result: "Result", shown: "Pictures") -> list[Cell]:
    """Caption each search by what it looked for: a file, a choice from folders, or words."""
    from pops.compose.draw import head

    starts = []
    for items, node in zip(product(*result.plan.axes), result.plan.results, strict=True):
        if items or isinstance(node, Leaf):
            label = head(items or (node,), shown)  # type: ignore[arg-type]
        else:
            label = "the composition"
        cell = label if isinstance(label, Cell) else Cell(label)
        seeds = result.parts[node].seeds
        starts += [
            replace(cell, note=f"seed {seeds[row]}" if seeds else "") for row in result.of(node)
        ]
    return starts


def _row(start: Cell, found: Sequence[Cell]) -> list[Cell]:
    return [start, replace(found[0], sign="arrow"), *found[1:]]


def _cells(hits: Sequence["Hit"], lost: dict[Path, str]) -> list[Cell]:
    """Draw what was found; a picture that is gone is told in `lost`, and the rest goes on."""
    cells = []
    for rank, hit in enumerate(hits, 1):
        shown: Image.Image | str = GONE
        try:
            shown = hit.open()
        except InputError as error:
            lost[hit.path] = str(error)
        cells.append(Cell(shown, hit.path.stem, f"{rank}: {hit.score:.3f}"))
    return cells


def _plain(title: str, hits: Sequence["Hit"]) -> dict[str, object]:
    return {"query": title, "found": [{"path": str(h.path), "score": h.score} for h in hits]}
