"""The model card of an operator folder, as the hub shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pops.operators import OperatorCard

__all__ = ["model_card"]

BASE_MODELS = {"kandinsky-2.2": "kandinsky-community/kandinsky-2-2-prior"}


def model_card(card: OperatorCard, pictures: Sequence[str]) -> str:
    """Write the model card of an operator folder.

    Args:
        card: the content of its `operator.json`.
        pictures: files of the folder that the card shows.

    Returns:
        The text of a README.md.
    """
    operator = card.operator
    slots: Sequence[str] = [*operator.inputs, *(["text"] if operator.takes_text else [])]
    base = BASE_MODELS.get(card.stack)
    request = ", ".join(repr(f"{name}.png") for name in operator.inputs)
    text = ', text="shiny"' if operator.takes_text else ""
    lines = [
        "---",
        "library_name: pops",
        *([f"base_model: {base}"] if base else []),
        "tags: [image-embeddings, diffusion-prior, pops]",
        "---",
        f"# {operator.name}",
        "",
        f"An operator of `pops` on the image embeddings of the `{card.stack}` stack: "
        f"a diffusion prior that maps {', '.join(slots)} to one embedding.",
        "",
        "| | |",
        "|---|---|",
        f"| inputs | {', '.join(slots)} |",
        f"| guidance | {operator.guidance:g} |",
        f"| stack | {card.stack} |",
        *(f"| {key} | {value} |" for key, value in card.training.items()),
        "",
        "```python",
        "from pops import Engine",
        "",
        f'engine = Engine.load("{card.stack}")',
        f'made = engine.apply("path/of/this/folder", [({request},)]{text})',
        'engine.render(made)[0].save("result.png")',
        "```",
        "",
        *(f"![{Path(picture).stem}]({picture})\n" for picture in pictures),
    ]
    return "\n".join(lines)
