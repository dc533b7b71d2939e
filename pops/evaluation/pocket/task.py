"""The form of what the pocket benchmark asks: a task of one operator."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from PIL import Image

from pops.evaluation.pocket.judged import Check
from pops.evaluation.pocket.shown import Shown
from pops.pocket.world.scene import Scene
from pops.pocket.world.split import Thing

__all__ = ["Asking", "Entry", "Source", "Task", "recut", "same_things"]

T = TypeVar("T")
Source = Scene | Image.Image | None
Entry = tuple[Shown, Scene]  # a gallery's picture, named by what it shows


@dataclass(frozen=True)
class Asking:
    """How a task is to be made.

    size: pixels a side of its pictures. split: "test", or "validation" for choosing settings.
    limit: so many requests at most. drawn: whether these are drawn at random, the same in every
    run, from all that there are; otherwise they are the first, which show a few objects alone.
    """

    size: int
    split: str = "test"
    limit: int | None = None
    drawn: bool = False

    def limited(self, requests: Sequence[T]) -> list[T]:
        """Choose as many of the requests as are asked for.

        Args:
            requests: all requests.

        Returns:
            Those that are chosen, in order.
        """
        order = list(range(len(requests)))
        if self.drawn:
            random.Random("limit").shuffle(order)
        return [requests[at] for at in sorted(order[: self.limit])]

    def rng(self, name: str) -> random.Random:
        """Make the random generator of a name, another in every split.

        Args:
            name: what it is for.

        Returns:
            The generator.
        """
        return random.Random(name if self.split == "test" else f"{self.split}/{name}")


@dataclass(frozen=True)
class Task:
    """The requests to one operator, what each should give, and among what it is looked for.

    inputs: one source per slot, None for what is left out. twins: another picture of each right
    answer. gallery: every scene with its name; the right ones of a request are named `wanted`.
    checks: what the judge should see in what is rendered. shares: what else is said of the nearest.
    """

    inputs: list[tuple[Source, ...]]
    wanted: list[Shown]
    twins: list[Scene]
    gallery: list[Entry]
    checks: dict[str, Check]
    texts: list[str] | None = None
    shares: dict[str, Callable[[Shown, Shown], bool]] = field(default_factory=dict)


def same_things(nearest: Shown, wanted: Shown) -> bool:
    """Tell whether the nearest picture shows the right things in the right materials.

    Args:
        nearest: the name of the nearest picture.
        wanted: the name of the right one.

    Returns:
        True where both show the same things.
    """
    return nearest.things == wanted.things


def recut(scene: Scene, rng: random.Random, things: Sequence[Thing], background: str) -> Scene:
    """Put other things into the geometry of a scene, in a place and of cuts of their own.

    Args:
        scene: the scene whose geometry is used.
        rng: chooses the cuts.
        things: (shape, material) for each item of the scene.
        background: a name in `BACKGROUNDS`.

    Returns:
        The new scene.
    """
    items = tuple(
        replace(i, shape=shape, material=material, phase=rng.uniform(0, 20))
        for i, (shape, material) in zip(scene.items, things, strict=True)
    )
    return replace(scene, items=items, background=background, phase=rng.uniform(0, 20))
