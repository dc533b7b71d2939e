"""What a run leaves: an operator folder with its model card, and its curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pops.adapters import save_adapter
from pops.files import atomic_path
from pops.operators import Operator, OperatorCard, save_card, save_operator
from pops.training.config import TrainConfig
from pops.training.journal import Line

__all__ = ["draw_curves", "save_result"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_result(
    folder: Path,
    config: TrainConfig,
    operator: Operator,
    stack: str,
    state: dict[str, Tensor],
    training: dict[str, Any],
    pictures: Sequence[str],
) -> None:
    """An operator folder: the whole prior, or, with a rank, an adapter. The weights come last.

    `state`: as `operator_state` gives it. `pictures`: files there that the model card shows.
    """
    small = "float32" if config.lora_rank is None else "float16"
    dtype = DTYPES[small if config.save_dtype == "auto" else config.save_dtype]
    own = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    card = OperatorCard(operator, stack, training)
    if config.lora_rank is None:
        save_operator(folder, card, own, pictures)
    else:
        save_card(folder, card, pictures)
        save_adapter(folder, own, config.lora_rank)


def draw_curves(lines: Sequence[Line], path: Path) -> bool:
    """Loss, validation and gradient over the steps as one picture; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {
        "loss": _named(lines, "mse", "text"),
        "held-out loss by timestep": _named(lines, "val/loss_"),
        "held-out cosine to the target": _named(lines, "val/cosine", "val/mean_cosine"),
        "gradient norm": ["grad_norm"],
    }
    drawn = {title: names for title, names in panels.items() if names}
    figure, axes = pyplot.subplots(
        1, len(drawn), figsize=(4 * len(drawn), 3.2), constrained_layout=True, squeeze=False
    )
    for axis, (title, names) in zip(axes[0], drawn.items(), strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if name in line]
            marker = "." if len(points) < 30 else ""
            axis.plot(*zip(*points, strict=True), label=_shown(name), lw=1.2, marker=marker)
        axis.set(title=title, xlabel="step")
        axis.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axis.legend(fontsize=8, frameon=False)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=100)
    pyplot.close(figure)
    return True


def _named(lines: Sequence[Line], *starts: str) -> list[str]:
    names = dict.fromkeys(name for line in lines for name in line)
    return [name for name in names if name.startswith(starts)]


def _shown(name: str) -> str:
    words = {"mean_cosine": "mean of inputs", "cosine": "operator"}
    plain = name.removeprefix("val/")
    return words.get(plain, plain.removeprefix("loss_"))
