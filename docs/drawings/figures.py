"""Draws the pictures of the documentation that commands or notebooks make, with the pocket stack.

python docs/drawings/figures.py               # all, in a few minutes
python docs/drawings/figures.py strength      # some
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pops import Engine
from pops.cli.main import main as pops
from pops.figures import Cell, strips
from pops.io.pictures import open_picture, save_picture
from pops.operators import find_operator

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets"
OUT = ROOT / "docs" / "images"
SEED = 18
# What the picture of all operators shows: an operator, a picture for some of its slots, a text.
REQUESTS: tuple[tuple[str, dict[str, str], str | None], ...] = (
    ("texturing", {"object": "objects/mug", "texture": "textures/wood"}, None),
    ("scene", {"object": "objects/rabbit", "background": "backgrounds/forest"}, None),
    ("union", {"first": "objects/teapot", "second": "objects/cube"}, None),
    ("instruct", {"object": "objects/house"}, "burning"),
    (
        "clothes",
        {slot: f"garments/{slot}" for slot in ("hat", "upper-clothes", "pants", "scarf")},
        None,
    ),
)


def cell(name: str) -> Cell:
    """Show a picture of assets/ with its name."""
    return Cell(open_picture(ASSETS / f"{name}.png"), Path(name).name)


def operators() -> Image.Image:
    """Draw one line for each operator: what goes in, and what comes out."""
    engine = Engine.load("pocket", "cpu")
    rows = []
    for name, given, text in REQUESTS:
        slots = find_operator(name).inputs
        request = tuple(ASSETS / f"{given[slot]}.png" if slot in given else None for slot in slots)
        made = engine.apply(name, [request], text=[text] if text else None, seeds=[SEED])
        cells = [cell(given[slot]) for slot in slots if slot in given]
        cells += [Cell(text, note="text")] if text else []
        result = Cell(engine.render(made, seeds=[0])[0], name, sign="arrow")
        rows.append([cells[0], *(replace(one, sign="plus") for one in cells[1:]), result])
    return strips(rows)


def composition() -> Image.Image:
    """Draw a wooden mug on the beach, as a tree."""
    return drawn(
        f"scene(texturing('{ASSETS}/objects/mug.png', '{ASSETS}/textures/wood.png'), "
        f"'{ASSETS}/backgrounds/beach.png')",
        ["--seeds", f"{SEED}"],
    )


def strength() -> Image.Image:
    """Draw a mug that becomes wooden, at six strengths."""
    program = f"texturing('{ASSETS}/objects/mug.png', text('wooden'), strength=0..1:6)"
    return drawn(program, ["--seeds", "1..2"])


def drawn(program: str, flags: list[str]) -> Image.Image:
    """Give the figure that `pops run` draws of a composition."""
    with tempfile.TemporaryDirectory() as folder:
        if pops(["run", program, *flags, "--stack=pocket", f"--out={folder}"]):
            sys.exit(1)
        (figure,) = Path(folder).glob("*.jpg")
        return Image.open(figure).convert("RGB")


def midas() -> Image.Image:
    """Give the last picture of the notebook that trains an operator."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "examples" / "train-an-operator.ipynb", as_version=4)
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        NotebookClient(notebook, resources={"metadata": {"path": folder}}).execute()
    shown = [out for one in notebook.cells for out in one.get("outputs", ()) if "data" in out]
    data = [out["data"]["image/png"] for out in shown if "image/png" in out["data"]][-1]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


FIGURES: dict[str, Callable[[], Image.Image]] = {
    figure.__name__: figure for figure in (operators, composition, strength, midas)
}


def main(names: list[str]) -> None:
    """Draw the pictures that are named, or all."""
    for name in names or FIGURES:
        save_picture(FIGURES[name](), OUT / f"{name}.jpg")
        print(OUT / f"{name}.jpg")


if __name__ == "__main__":
    main(sys.argv[1:])
