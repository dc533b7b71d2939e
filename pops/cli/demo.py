"""`pops demo`: all five operators on pictures that come with pops, and a composition of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.cli.outputs import Previews
from pops.cli.steps import LEFT_OUT, captioned, equation, load, preview
from pops.compose.plan import Plan, make_plan
from pops.errors import UsageError, check_known
from pops.figures import Cell, strips
from pops.io.assets import assets_folder, example_pictures
from pops.io.files import atomic_path, staged_folder
from pops.io.pictures import save_picture
from pops.operators import GARMENTS, find_operator
from pops.settings.commands import DemoConfig
from pops.settings.progress import Progress, ProgressBars

if TYPE_CHECKING:
    from pops.engine import Engine
    from pops.io.embeddings import Embeddings

__all__ = ["demo"]

COMPOSITION = "composition"

# A request: for each slot FOLDER/NAME of a picture of assets, or None; and a text, or None.
DemoRequest = tuple[tuple[str | None, ...], str | None]


@dataclass(frozen=True)
class DemoFigure:
    """One operator's figure: what it shows, and the requests of its rows."""

    operator: str
    says: str
    requests: tuple[DemoRequest, ...]


def _worn(*garments: str) -> DemoRequest:
    """Give the garments that are named, each in its slot; the others left out."""
    return tuple(f"garments/{slot}" if slot in garments else None for slot in GARMENTS), None


FIGURES = (
    DemoFigure(
        "union",
        "Two things beside each other.",
        tuple(
            ((f"objects/{a}", f"objects/{b}"), None)
            for a, b in (("mug", "donut"), ("teapot", "cube"), ("car", "tree"))
        ),
    ),
    DemoFigure(
        "scene",
        "A thing in a place.",
        tuple(
            ((f"objects/{thing}", f"backgrounds/{place}"), None)
            for thing, place in (("rabbit", "forest"), ("boat", "beach"), ("rocket", "night"))
        ),
    ),
    DemoFigure(
        "instruct",
        "A thing as an adjective says.",
        tuple(
            ((f"objects/{thing}",), adjective)
            for thing, adjective in (("mug", "tiny"), ("teapot", "many"), ("house", "burning"))
        ),
    ),
    DemoFigure(
        "clothes",
        "Garments, worn by one person.",
        (
            _worn("hat", "upper-clothes", "pants", "left-shoe", "right-shoe"),
            _worn("upper-clothes", "pants", "bag", "scarf"),
        ),
    ),
)
TREE = "union(scene(texturing({rabbit!r}, {gold!r}), {snow!r}), scene({tree!r}, {snow!r}))"


def demo(config: DemoConfig) -> int:
    """Run `pops demo`: show all operators on the pictures that come with pops.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.

    Raises:
        UsageError: there are no pairs, or one names a picture that does not come with pops.
    """
    if not config.pairs:
        raise UsageError("--pairs is empty: give one or more, as in mug+wood")
    pairs = tuple(_pair(pair) for pair in config.pairs)
    says = "A thing, made of a texture."
    parts = (DemoFigure("texturing", says, pairs), *FIGURES)
    previews = Previews()
    plan = make_plan(_composition(), previews.usable)
    for leaf in plan.leaves:
        previews.open(leaf)
    captions: dict[str, tuple[str, str]] = {}
    with staged_folder(config.out) as stage:
        engine = load(config)
        with closing(ProgressBars()) as progress:
            for part in parts:
                # Two results of the first, one of the others: the demo is to be quick.
                own = config if part.operator == parts[0].operator else _once(config)
                _draw_part(part, engine, own, progress, stage)
                captions[part.operator] = (part.says, _command(part))
            _draw_composition(plan, previews, engine, _once(config), progress, stage)
        captions[COMPOSITION] = (
            "Operators on what operators made.",
            f'pops run "{_composition(short=True)}"',
        )
        with atomic_path(stage / "index.html") as path:
            path.write_text(_page(captions), encoding="utf-8")
    print(
        f"Look at {config.out / 'index.html'}, or at the figures beside it; "
        "then bring your own pictures: pops apply --help"
    )
    return 0


def _once(config: DemoConfig) -> DemoConfig:
    return replace(config, seeds=config.seeds[:1])


def _draw_part(
    part: DemoFigure, engine: Engine, config: DemoConfig, progress: Progress, stage: Path
) -> None:
    """Draw one figure of equations, a row for each request."""
    operator = find_operator(part.operator)
    requests = [tuple(map(_asset, names)) for names, _ in part.requests]
    shown = [[preview(source) for source in request] for request in requests]
    texts = [text for _, text in part.requests if text is not None]
    made = engine.apply(
        operator.name, requests, text=texts or None, progress=progress, **vars(config.sampling)
    )
    pictures = iter(engine.render(made, progress=progress, **vars(config.rendering)))
    each = len(config.seeds) * len(config.render_seeds)
    rows = [
        equation(operator, request, inputs, text, captioned(config, islice(pictures, each)))
        for request, inputs, (_, text) in zip(requests, shown, part.requests, strict=True)
    ]
    save_picture(strips([_given(row) for row in rows]), stage / f"{part.operator}.jpg")


def _given(row: Sequence[Cell]) -> list[Cell]:
    """List the cells of an equation without those of inputs that are left out."""
    cells = [cell for cell in row if cell.image != LEFT_OUT]
    return [replace(cells[0], sign=None), *cells[1:]]


def _draw_composition(
    plan: Plan,
    previews: Previews,
    engine: Engine,
    config: DemoConfig,
    progress: Progress,
    stage: Path,
) -> None:
    """Draw the tree of a composition, with a picture of every part."""
    from pops.compose.draw import draw_tree

    def drawn(made: Embeddings) -> list[Image.Image]:
        return engine.render(made, progress=progress, **vars(once.rendering))

    once = replace(config, render_seeds=config.render_seeds[:1])
    result = engine.run(plan, progress=progress, **vars(once.sampling))
    shown = previews.pictures | dict(zip(result.keys, drawn(result.embeddings), strict=True))
    save_picture(draw_tree(result, drawn, shown), stage / f"{COMPOSITION}.jpg")


# --- the page -------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pops: operators on pictures</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
          padding: 0 1rem; color: #222; background: #fff; }}
  figure {{ margin: 0 0 3rem; }}
  h2 {{ margin: 0 0 .2rem; }}
  p {{ margin: 0 0 .8rem; }}
  img {{ max-width: 100%; height: auto; }}
  code {{ display: block; overflow-x: auto; padding: .5rem .8rem; background: #f4f4f4;
          border-radius: .4rem; white-space: pre; }}
</style>
<h1>What the operators make</h1>
<p>Every result below was made on this machine. Give the command under a figure to make its first
row again.</p>
{figures}
</html>
"""
_FIGURE = """<figure>
<h2>{name}</h2>
<p>{says}</p>
<img src="{name}.jpg" alt="{name}: {says}">
<code>{command}</code>
</figure>"""


def _page(captions: dict[str, tuple[str, str]]) -> str:
    """Write a page that shows every figure by name: what it shows, and a command."""
    figures = [
        _FIGURE.format(name=escape(name), says=escape(says), command=escape(command))
        for name, (says, command) in captions.items()
    ]
    return _PAGE.format(figures="\n".join(figures))


def _command(part: DemoFigure) -> str:
    """Give the command that makes the first row."""
    names, text = part.requests[0]
    last = max(at for at, name in enumerate(names) if name is not None)
    inputs = " ".join(f"assets/{name}.png" if name else "_" for name in names[: last + 1])
    return f"pops apply {part.operator} {inputs}" + (f" --text {text}" if text else "")


# --- what is shown --------------------------------------------------------------------------


def _composition(short: bool = False) -> str:
    """Write the composition, of the places of its pictures, or of their names in a checkout."""
    names = {
        "rabbit": "objects/rabbit",
        "gold": "textures/gold",
        "tree": "objects/tree",
        "snow": "backgrounds/snow",
    }
    places = {
        key: f"assets/{name}.png" if short else str(_asset(name)) for key, name in names.items()
    }
    return TREE.format(**places)


def _pair(pair: str) -> DemoRequest:
    parts = pair.split("+")
    if len(parts) != 2:
        raise UsageError(f"--pairs takes OBJECT+TEXTURE, as in mug+wood, not {pair!r}")
    names = (f"objects/{parts[0]}", f"textures/{parts[1]}")
    for name in names:
        check_known("picture", name, example_pictures())
    return names, None


def _asset(name: str | None) -> Path | None:
    """Find a shipped picture; None stands for no picture."""
    return None if name is None else assets_folder() / f"{name}.png"
