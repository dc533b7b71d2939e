"""Work as users of ComfyUI expect it: a progress bar, interruption, and room on the GPU."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management
import comfy.utils

from pops import Embeddings
from pops.compose.nodes import Node
from pops.compose.plan import Plan, make_plan
from pops.engine import Engine
from pops.errors import NotFiniteError
from pops.settings.sampling import SamplingSettings

from .values import seeds_from

__all__ = ["Bar", "make_room", "run_rows"]

WORKING_BYTES = 2 * 2**30  # beside the weights: a batch of pictures in the decoder


class Bar:
    """Show the progress of pops in the bar of the node, and stop where the user says so."""

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(1)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` parts of the work are done.

        Args:
            what: the name of the work.
            done: the parts that are done.
            total: all parts.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, total)


def make_room(engine: Engine) -> None:
    """Have ComfyUI move models of its own off the GPU, where they leave too little for pops.

    Args:
        engine: the engine that is about to work.
    """
    device = engine.stack.device
    if device.type != "cpu":
        # The image encoder and the decoder are about as large as the prior each.
        needed = 2 * engine.stack.prior_bytes + WORKING_BYTES
        comfy.model_management.free_memory(needed, device)


def run_rows(
    engine: Engine,
    rows: Sequence[Node],
    bar: Bar,
    seed: int = 0,
    variations: int = 1,
    guidance: float = 0.0,
    steps: int = SamplingSettings.steps,
    sampler: str = SamplingSettings.sampler,
) -> Embeddings:
    """Run the compositions of several rows together, each operator on all that it can at a time.

    Args:
        engine: what runs them.
        rows: a composition for each row.
        bar: is told of the progress.
        seed: the first seed.
        variations: the number of seeds.
        guidance: the guidance of every operator; 0 for each operator's own.
        steps: the number of sampling steps.
        sampler: the name of a sampler.

    Returns:
        The results of the first row for all seeds, then those of the next. A row has one for each
        value of a range and each file of a folder in it.

    Raises:
        NotFiniteError: a result is not finite.
    """
    operators = engine.stack.operators
    plans = [make_plan(row, operators=operators) for row in rows]
    results = tuple(result for plan in plans for result in plan.results)
    made = engine.run(
        Plan(rows[0], (), results, operators),
        seeds=seeds_from(seed, variations),
        guidance=guidance or None,
        steps=steps,
        sampler=sampler,
        progress=bar,
    )
    if made.lost:
        raise NotFiniteError(next(iter(made.lost.values())))
    return made.embeddings
