"""Run compositions: the embeddings of all their parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from pops.compose.calls import FUNCTIONS
from pops.compose.nodes import Apply, Call, Node
from pops.compose.parse import parse
from pops.compose.plan import Plan, Step
from pops.errors import NotFiniteError
from pops.io.embeddings import Embeddings
from pops.io.requests import check_finite_rows, not_finite
from pops.settings.sampling import SamplingSettings

if TYPE_CHECKING:
    from pops.io.sources import Source
    from pops.settings.progress import Progress
    from pops.stacks.stack import Stack

__all__ = ["Result", "find_function", "run_plan"]


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
        """Give the embeddings of a part, a node or its text; KeyError for what is not a part."""
        return self.parts[parse(part, self.plan.operators) if isinstance(part, str) else part]

    def of(self, node: Node) -> range:
        """List the rows of a part: as many as there are seeds, one, or none where it is lost.

        Args:
            node: the part.

        Returns:
            The numbers of the rows.
        """
        return range(0 if node in self.lost else len(self.parts[node]))


class RunsCompositions(Protocol):
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

    def text(
        self,
        texts: str | Sequence[str],
        *,
        negative: str | Sequence[str] = ...,
        seeds: Sequence[int] = ...,
        guidance: float = ...,
        steps: int = ...,
        sampler: str = ...,
        progress: Progress | None = None,
    ) -> Embeddings: ...


def run_plan(
    engine: RunsCompositions,
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
        _check(engine.stack, node, weights)
    known = engine.encode([leaf.source for leaf in plan.leaves], progress)
    parts: dict[Node, Embeddings] = dict(zip(plan.leaves, known, strict=True))
    lost: dict[Node, str] = {}
    for step in plan.steps:
        for node in step.nodes:
            for made in node.needs:
                if made in lost:
                    lost[node] = lost[made]
        while nodes := tuple(node for node in step.nodes if node not in lost):
            try:
                rest = replace(step, nodes=nodes)
                parts |= _make(engine, rest, parts, sampling, weights, progress)
                break
            except NotFiniteError as error:  # the rest of the step goes on
                lost |= {nodes[at]: str(error) for at in error.rows}
    if lost.keys() >= set(plan.results):
        raise NotFiniteError(lost[plan.results[0]], range(len(plan.results)))
    return Result(plan, sampling.seeds, parts, lost)


def _check(stack: Stack, node: Node, weights: Mapping[str, str | Path]) -> None:
    """Raise UsageError for what does not fit the stack, while nothing is loaded."""
    if isinstance(node, Apply):
        operator = stack.operator_row(node.operator, weights.get(node.operator))
        operator.check_inputs(len(node.inputs), node.text)
    elif isinstance(node, Call) and (check := FUNCTIONS[node.function].check):
        find_function(check)(stack, node.values)


def _make(
    engine: RunsCompositions,
    step: Step,
    parts: Mapping[Node, Embeddings],
    sampling: SamplingSettings,
    weights: Mapping[str, str | Path],
    progress: Progress | None,
) -> dict[Node, Embeddings]:
    """Make the nodes of a step: by an operator, by a sampled function, or each by its function."""
    if step.operator is not None:
        return _sample(engine, step, parts, sampling, weights, progress)
    if step.kind is not None:
        sample = find_function(FUNCTIONS[step.kind[1]].compute)
        made = sample(engine, step.nodes, sampling, progress)
        return dict(zip(step.nodes, made, strict=True))
    made = [_compute(engine.stack, node, parts) for node in step.nodes]
    rows = torch.cat([one.image_embeds for one in made])
    check_finite_rows(rows, [len(one) for one in made], [str(node) for node in step.nodes])
    return dict(zip(step.nodes, made, strict=True))


def _sample(
    engine: RunsCompositions,
    step: Step,
    parts: Mapping[Node, Embeddings],
    sampling: SamplingSettings,
    weights: Mapping[str, str | Path],
    progress: Progress | None,
) -> dict[Node, Embeddings]:
    """Compute the nodes of one operator, for every seed, in one call.

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
    except NotFiniteError as error:  # name the parts of the composition instead
        faulty = sorted({step.nodes.index(asked[row]) for row in error.rows})
        raise not_finite([str(node) for node in step.nodes], faulty) from None
    count = len(sampling.seeds)
    return {
        node: replace(made[at * count : (at + 1) * count], expressions=(str(node),) * count)
        for at, node in enumerate(step.nodes)
    }


def _compute(stack: Stack, node: Node, parts: Mapping[Node, Embeddings]) -> Embeddings:
    """Compute a function; rows are paired by seed, and a single row goes with all of the others."""
    given = [parts[one] for one in node.needs]
    if isinstance(node, Apply):  # on the way from its first input to the whole
        name, values = "slerp", {"t": node.strength}
    else:
        assert isinstance(node, Call)
        name, values = node.function, node.values
    compute = find_function(FUNCTIONS[name].compute)
    rows = compute(stack, *(one.image_embeds for one in given), **values)
    seeds = max((one.seeds for one in given), key=len)
    guidance = given[-1].guidance if isinstance(node, Apply) else None
    return Embeddings(rows, stack.name, (str(node),) * len(rows), seeds, guidance)


def find_function(name: str) -> Callable[..., Any]:
    """Find a function by the name of its module and its own; the module is imported.

    Args:
        name: "module:function".

    Returns:
        The function.
    """
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
