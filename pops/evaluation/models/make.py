"""The stage that makes the pictures: the engine, on batches of compositions."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from pops.compose.nodes import Leaf, Node, first_leaf
from pops.compose.plan import Plan
from pops.engine import Engine
from pops.errors import NotFiniteError, UsageError
from pops.evaluation.config import EvalConfig
from pops.evaluation.stages import Make
from pops.render import find_renderer

__all__ = ["Maker"]


class Maker:
    """Makes the pictures of compositions, all of one seed together."""

    def __init__(self, engine: Engine, config: EvalConfig) -> None:
        self.engine = engine
        self.config = config

    @classmethod
    def load(cls, config: EvalConfig) -> Maker:
        """Open the stack that the settings name.

        Args:
            config: The settings of the command.

        Returns:
            The stage.
        """
        engine = Engine.load(
            config.stack,
            config.device,
            config.dtype,
            offload=config.offload,
            operator_folders=config.operators,
        )
        return cls(engine, config)

    def __call__(self, asked: Sequence[Make]) -> list[Image.Image]:
        """Make the picture of each request.

        Raises:
            NotFiniteError: A composition gives an embedding that is not finite.
        """
        made: dict[int, Image.Image] = {}
        for seed in dict.fromkeys(request.seed for request in asked):
            rows = [at for at, request in enumerate(asked) if request.seed == seed]
            pictures = self._make([asked[at].node for at in rows], seed)
            made |= dict(zip(rows, pictures, strict=True))
        return [made[at] for at in range(len(asked))]

    def _make(self, nodes: Sequence[Node], seed: int) -> list[Image.Image]:
        config = self.config
        plan = Plan(nodes[0], (), tuple(nodes), self.engine.stack.operators)
        sampling = {**vars(config.sampling), "seeds": (seed,)}
        result = self.engine.run(plan, **sampling)
        if result.lost:
            raise NotFiniteError(next(iter(result.lost.values())))
        depth_of = None
        if find_renderer(config.renderer).takes_depth:
            depth_of = [_shape_of(node).source for node in nodes]
        rendering = {**vars(config.rendering), "seeds": (seed,)}
        return self.engine.render(result.embeddings, depth_of=depth_of, **rendering)


def _shape_of(node: Node) -> Leaf:
    found = first_leaf(node)
    if found is None:
        raise UsageError(
            f"the renderer keeps the depth of the first input, but {node} begins with none: "
            "use another renderer"
        )
    return found
