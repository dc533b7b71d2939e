"""The folder of a base prior that a run leaves, in the layout of a stack."""

from __future__ import annotations

from pathlib import Path

from pops.io.files import make_folder
from pops.io.formats.schema import write_json
from pops.io.formats.tensors import save_tensors
from pops.prior.schedule import Schedule, schedule_config
from pops.stacks.spec import PRIOR_WEIGHTS
from pops.training.model import TrainedPrior

__all__ = ["save_base"]


def save_base(folder: Path, prior: TrainedPrior, schedule: Schedule) -> Path:
    """Write a base prior and its noise schedule, the weights last.

    Args:
        folder: The folder to write into: its folders `prior` and `scheduler` are what those of a
            stack's folder `prior` are, and what diffusers reads.
        prior: The trained prior.
        schedule: The noise schedule that it was trained with.

    Returns:
        The folder.

    Raises:
        OutputError: A weight is not finite, or a file cannot be written.
    """
    own, scheduler = make_folder(folder / "prior"), make_folder(folder / "scheduler")
    for path, content in (
        (scheduler / "scheduler_config.json", schedule_config(schedule)),
        (own / "config.json", prior.config.to_dict()),
    ):
        write_json(path, content)
    state = {key: value.detach().float() for key, value in prior.state_dict().items()}
    save_tensors(own / PRIOR_WEIGHTS, state)
    return folder
