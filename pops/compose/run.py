"""Run compositions: the embeddings of all their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pops.compose.nodes import Apply, Mean, Node
from pops.compose.parse import parse
from pops.compose.plan import Plan, Step
from pops.errors import NotFiniteError
from pops.io.embeddings import Embeddings
from pops.io.requests import not_finite
from pops.settings.sampling import SamplingSettings

if TYPE_CHECKING:
    from pops.io.sources import Source
    from pops.settings.progress import Progress
    from pops.stacks.stack import Stack

__all__ = ["Result", "run_plan"]


@dataclass(frozen=True, repr=False)
class Result:
    """The embeddings that a composition gave.

    Args:
        plan: the composition made ready.
        seeds: the seeds of the run.
        parts: for every distinct node one row for each seed, or a single row where no operator is
            in it and seeds make no difference.
        lost: why parts are missing, since their embeddings or those of their inputs are not finite.
    """

    plan: Plan
    seeds: tuple[int, ...]
    parts: Mapping[Node, Embeddings]
    lost: Mapping[Node, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say in a line what was made."""
        return f"<Result of {self.plan.composition}: {self.embeddings!r}>"

    def _repr_png_(self) -> bytes | None:
        """Show the results in a notebook."""
        return self.embeddings._repr_png_()

    @property
    def embeddings(self) -> Embeddings:
        """The results: for each combination of the plan's axes, the last fastest, each seed."""
        found = [self.parts[node][row] for node, row in self.keys]
        return replace(
            found[0],
            image_embeds=torch.cat([one.image_embeds for one in found]),
            expressions=tuple(one.expressions[0] for one in found),
            seeds=tuple(seed for one in found for seed in one.seeds),
        )

    @property
    def keys(self) -> list[tuple[Node, int]]:
        """The part and the row of it that each of `embeddings` is."""
        return [(node, row) for node in self.plan.results for row in self.of(node)]

    def __getitem__(self, part: Node | str) -> Embeddings:
        """The embeddings of a part, given as a node or as text. KeyError if it is none."""
        return self.parts[parse(part, self.plan.operators) if isinstance(part, str) else part]

    def of(self, node: Node) -> range:
        """List the rows of a part: as many as there are seeds, one, or none where it is lost.

        Args:
            node: the part.

        Returns:
            The numbers of the rows.
        """
        return range(0 if node in self.lost else len(self.parts[node]))


class AppliesOperators(Protocol):
    """The part of the engine that runs a composition."""

    @property
    def stack(self) -> Stack: ...

    def encode(self, sources: Sequence[Source], progress: Progress | None = None) -> Embeddings: ...

    def apply(
        self,
        operator: str,
        inputs: Sequence[Sequence[Source | None]],
        *,
        text: str | Sequence[str | None] | None = None,
        seeds: Sequence[int] | Sequence[Sequence[int]] = ...,
        guidance: float | None = None,
        steps: int = ...,
        sampler: str = ...,
        weights: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Embeddings: ...


def run_plan(
    engine: AppliesOperators,
    plan: Plan,
    sampling: SamplingSettings,
    weights: Mapping[str, str | Path],
    progress: Progress | None = None,
) -> Result:
    """Encode the inputs of a plan, then sample its operators step by step.

    Args:
        engine: what encodes and applies operators.
        plan: the composition made ready.
        sampling: how each operator is sampled.
        weights: for some operators, by name, weights in place of the stack's own.
        progress: called with the name of the work, what is done, and all that is to be done.

    Returns:
        The embeddings of every part.

    Raises:
        UsageError: an operator is unknown or its inputs do not fit; nothing is loaded then.
        NotFiniteError: no result is finite. Where some are, the others are left out.
    """
    for node in plan.nodes:
        if isinstance(node, Apply):
            operator = engine.stack.operator_row(node.operator, weights.get(node.operator))
            operator.check_inputs(len(node.inputs), node.text)
    known = engine.encode([leaf.source for leaf in plan.leaves], progress)
    parts: dict[Node, Embeddings] = dict(zip(plan.leaves, known, strict=True))
    lost: dict[Node, str] = {}
    for step in plan.steps:
        for node in step.nodes:
            for made in node.inputs:
                if made in lost:
                    lost[node] = lost[made]
        while nodes := tuple(node for node in step.nodes if node not in lost):
            try:
                rest = replace(step, nodes=nodes)
                parts |= (
                    _sample(engine, rest, parts, sampling, weights, progress)
                    if step.operator
                    else _means(rest, parts)
                )
                break
            except NotFiniteError as error:  # the rest of the step goes on
                lost |= {nodes[at]: str(error) for at in error.rows}
    if lost.keys() >= set(plan.results):
        raise NotFiniteError(lost[plan.results[0]], range(len(plan.results)))
    return Result(plan, sampling.seeds, parts, lost)


def _sample(
    engine: AppliesOperators,
    step: Step,
    parts: Mapping[Node, Embeddings],
    sampling: SamplingSettings,
    weights: Mapping[str, str | Path],
    progress: Progress | None,
) -> dict[Node, Embeddings]:
    """The nodes of one operator, for every seed, in one call.

    A node whose inputs are the same for all seeds is one request with all seeds; else it is one
    request for each seed, with what its inputs are for that seed.
    """
    requests: list[list[Tensor | None]] = []
    texts: list[str | None] = []
    seeds: list[tuple[int, ...]] = []
    asked: list[Node] = []
    for node in step.nodes:
        given = [None if made is None else parts[made].image_embeds for made in node.inputs]
        rows = max((len(one) for one in given if one is not None), default=1)
        requests += [
            [None if one is None else one[min(row, len(one) - 1)] for one in given]
            for row in range(rows)
        ]
        asked += [node] * rows
        texts += [node.text if isinstance(node, Apply) else None] * rows
        seeds += [sampling.seeds] if rows == 1 else [(seed,) for seed in sampling.seeds]
    try:
        made = engine.apply(
            step.operator or "",
            requests,
            text=texts,
            weights=weights.get(step.operator or ""),
            progress=progress,
            **{**vars(sampling), "seeds": seeds},
        )
    except NotFiniteError as error:  # named by what is in the composition
        faulty = sorted({step.nodes.index(asked[row]) for row in error.rows})
        raise not_finite([str(node) for node in step.nodes], faulty) from None
    count = len(sampling.seeds)
    return {
        node: replace(made[at * count : (at + 1) * count], expressions=(str(node),) * count)
        for at, node in enumerate(step.nodes)
    }


def _means(step: Step, parts: Mapping[Node, Embeddings]) -> dict[Node, Embeddings]:
    """Rows are paired by seed; a single row goes with every one of the other input."""
    made: dict[Node, Embeddings] = {}
    for node in step.nodes:
        assert isinstance(node, Mean)
        a, b = (parts[one] for one in node.inputs)
        rows = a.image_embeds.lerp(b.image_embeds, node.weight)
        made[node] = Embeddings(rows, a.stack, (str(node),) * len(rows), a.seeds or b.seeds)
    return made
