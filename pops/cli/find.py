"""`pops find`: the pictures of an index that are nearest to a composition."""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from pops.cli.outputs import Previews, part_names
from pops.cli.steps import known_operators_of, load
from pops.compose.plan import make_plan
from pops.figures import Cell, strips
from pops.io.files import staged_folder
from pops.io.pictures import open_picture, save_picture
from pops.search.config import FindConfig
from pops.settings.progress import ProgressBars

if TYPE_CHECKING:
    from pops.search.exact import Hit
    from pops.search.lance import LanceIndex

__all__ = ["find"]

ACROSS = 6  # pictures of a row of the strip
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
        rows = [row for hits in found for row in _cells(hits[:SHOWN])]
        save_picture(strips(rows), stage / f"{name}.jpg")
    if config.json:
        print(json.dumps([_plain(*pair) for pair in zip(titles, found, strict=True)]))
        return 0
    for title, hits in zip(titles, found, strict=True):
        print(title)
        for rank, hit in enumerate(hits, 1):
            print(f"{rank:>5}  {hit.score:.3f}  {hit.path}")
    print(f"{config.out / name}.jpg  (the nearest of {len(index)} pictures)")
    return 0


def _lance(config: FindConfig) -> "LanceIndex":
    from pops.search.lance import LanceIndex

    return LanceIndex(config.index)


def _cells(hits: Sequence["Hit"]) -> list[list[Cell]]:
    cells = [
        Cell(open_picture(hit.path), hit.path.stem, f"{rank}: {hit.score:.3f}")
        for rank, hit in enumerate(hits, 1)
    ]
    return [cells[at : at + ACROSS] for at in range(0, len(cells), ACROSS)]


def _plain(title: str, hits: Sequence["Hit"]) -> dict[str, object]:
    return {"query": title, "found": [{"path": str(h.path), "score": h.score} for h in hits]}
