"""The model card of an operator folder, as the hub shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pops.operators import OperatorCard

__all__ = ["Metrics", "model_card", "shared_card"]

Metrics = Mapping[str, float]  # numbers by what they measure

SHARED = "<!-- added by pops push -->"
HERE = "path/of/this/folder"
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
        f'made = engine.apply("{HERE}", [({request},)]{text})',
        'engine.render(made)[0].save("result.png")',
        "```",
        "",
        *(f"![{Path(picture).stem}]({picture})\n" for picture in pictures),
    ]
    return "\n".join(lines)


def shared_card(
    text: str,
    repository: str,
    licence: str | None,
    is_adapter: bool,
    metrics: Metrics,
    example: str | None = None,
) -> str:
    """Complete the model card of an operator folder for the hub.

    What its owner has written stays; the licence, the metrics, the example and the way to load it
    from the hub are added.

    Args:
        text: the README.md of the folder.
        repository: OWNER/NAME.
        licence: the licence of the weights, as the hub spells it.
        is_adapter: whether the weights are an adapter of the base model.
        metrics: numbers for the card.
        example: the name of an example picture beside the card.

    Returns:
        The text of the README.md that is shared.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    card = ModelCard(text, ignore_metadata_errors=True)
    data = card.data
    assert isinstance(data, ModelCardData)  # a model's card has no other
    data.license = data.license or licence
    data.pipeline_tag = data.pipeline_tag or "image-to-image"
    data["inference"] = False  # no widget: the hub's own servers cannot run it
    if data.base_model:
        data["base_model_relation"] = "adapter" if is_adapter else "finetune"
    name = repository.partition("/")[2]
    if metrics:
        data.model_name = name
        data.eval_results = [
            EvalResult("image-to-image", "held-out", "held out", key, value, task_name="operator")
            for key, value in metrics.items()
        ]
    loaded = f'Operator.from_pretrained("{repository}")'
    body = card.text.partition(SHARED)[0].strip()  # without what an earlier call has added
    body = re.sub(
        r'Operator\.from_pretrained\("[^"]*"\)', loaded, body.replace(f'"{HERE}"', loaded)
    )
    body = body.replace("from pops import Engine\n", "from pops import Engine, Operator\n")
    rows = [f"| {key.replace('_', ' ')} | {value:g} |" for key, value in metrics.items()]
    table = ["| measured on held-out requests | |", "|---|---|", *rows, ""] if rows else []
    picture = [f"![An example]({example})", ""] if example else []
    return "\n".join(["---", str(data), "---", body, "", SHARED, "", *table, *picture])
