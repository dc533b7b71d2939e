"""Find pictures: the search of the studio's index for what a composition gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pops.errors import InputError
from pops.search.renderer import FindRenderer
from pops.studio.store import StoredItem, plain_name

if TYPE_CHECKING:
    from pops.compose.nodes import Node
    from pops.search.exact import Hit
    from pops.studio.jobs.compose import Composer, Inputs
    from pops.studio.jobs.job import Job
    from pops.studio.jobs.options import Options

__all__ = ["MOST_FOUND", "Finder"]

MOST_FOUND = 48  # pictures of one search


@dataclass(frozen=True)
class Finder:
    """Finds pictures for visitors, who are told their names and never where they lie.

    Args:
        composer: What makes embeddings; what it has made before is not made again.
    """

    composer: Composer

    def run(self, job: Job, node: Node, inputs: Inputs, options: Options, k: int) -> None:
        """Find the nearest pictures; each is told as soon as it is open, the nearest first.

        Args:
            job: Is told of the pictures.
            node: What is looked for.
            inputs: The items that its leaves name.
            options: How it is sampled.
            k: How many pictures to find.
        """
        made = self.composer.embedding(job, node, inputs, options)
        renderer = self.composer.runner.engine.renderer("find")
        assert isinstance(renderer, FindRenderer)
        (hits,) = renderer.index.find(made.image_embeds, k)
        found: list[dict[str, Any]] = []
        for rank, hit in enumerate(hits, 1):
            job.progress("opening pictures", rank - 1, len(hits))
            try:
                item = self._keep(hit)
            except InputError as error:
                job.tell({"state": "warning", "warning": str(error)})
                continue
            found.append({**item.told, "found": hit.name, "score": hit.score, "rank": rank})
            told = {"state": "result", "result": found[-1], "made": rank, "of": len(hits)}
            job.tell(told)
        job.tell({"state": "done", "results": found, "of": len(renderer.index)})

    def _keep(self, hit: Hit) -> StoredItem:
        """Keep a picture that was found, so that it can be an input."""
        item = StoredItem.of_picture(plain_name(hit.path.name), hit.open())
        return self.composer.runner.store.add(item)
