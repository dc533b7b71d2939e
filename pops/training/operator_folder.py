"""What a run leaves: operator folders with their model cards, and its curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pops.io.files import atomic_path
from pops.operators import OperatorCard, save_card, save_operator
from pops.prior.adapters import save_adapter
from pops.prior.joint import JointPrior, save_own, save_shared
from pops.training.config import TrainConfig
from pops.training.metrics import Line
from pops.training.model import TrainedPrior, operator_state

__all__ = ["draw_curves", "save_result"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def save_result(
    folder: Path,
    config: TrainConfig,
    trainee: TrainedPrior,
    cards: Sequence[OperatorCard],
    pictures: Sequence[str],
) -> list[Path]:
    """The operator folder of every card, each loadable alone. The weights come last.

    One operator is `folder` itself: the whole prior, or, with a rank, an adapter. Several are
    folders in it, beside the prior that they share. `pictures`: of `folder`, for the model cards.
    """
    small = "float32" if config.lora_rank is None else "float16"
    dtype = DTYPES[small if config.save_dtype == "auto" else config.save_dtype]

    def stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: value.detach().to("cpu", dtype).contiguous() for k, value in state.items()}

    if isinstance(trainee, JointPrior):
        save_shared(folder, stored(operator_state(trainee.prior, config)))
        for number, card in enumerate(cards):
            own = save_card(folder / card.operator.name, card, [f"../{name}" for name in pictures])
            save_own(own, stored(trainee.own_state(number)))
        return [folder / card.operator.name for card in cards]
    (card,), state = cards, stored(operator_state(trainee, config))
    if config.lora_rank is None:
        save_operator(folder, card, state, pictures)
    else:
        save_card(folder, card, pictures)
        save_adapter(folder, state, config.lora_rank)
    return [folder]


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
        "held-out cosine of each operator": _of_each(lines, "/cosine"),
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


def _of_each(lines: Sequence[Line], end: str) -> list[str]:
    """Numbers of several operators, val/NAME/..., as those of one are val/..."""
    return [name for name in _named(lines, "val/") if name.count("/") > 1 and name.endswith(end)]


def _shown(name: str) -> str:
    words = {"mean_cosine": "mean of inputs", "cosine": "operator"}
    plain = name.removeprefix("val/").removesuffix("/cosine")
    return words.get(plain, plain.removeprefix("loss_"))
