"""Recipes: they make training examples of the operators from the records of pictures.

They keep to the published recipes where the pocket world allows it. One more rule gives every
example a single right answer: the result has the background of its inputs, and the background of
things on white is the white studio.
"""

import random
from collections.abc import Callable

from torch import Tensor

from pops.operators import CLOTHES, INSTRUCT, SCENE, TEXTURING, UNION
from pops.operators import GARMENTS as GARMENT_SLOTS
from pops.pocket.build.data.embeds import PATCH
from pops.pocket.build.data.pool import Example, Pool, Recipe
from pops.pocket.world.cutout import SLOT_OF
from pops.pocket.world.scene import plural, with_article
from pops.pocket.world.vocabulary import ADJECTIVES, OBJECTS

__all__ = [
    "RECIPES",
    "ClothesRecipe",
    "InstructRecipe",
    "SceneRecipe",
    "TexturingRecipe",
    "UnionRecipe",
]


class TexturingRecipe(Recipe):
    """Recipe of texturing: (an object, a texture) -> the object made of the texture.

    It is the published one. The object's picture differs from the target in its material, or is the
    target itself 0.2 of the time. The texture is a patch of the target or a flat swatch.
    """

    operator = TEXTURING
    SELF = 0.2

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        found = pool.rows("single", "geometry", "background").values()
        self.poses = [rows for rows in found if len(rows) > 1]
        self.swatches = pool.rows("swatch", "thing")

    def example(self, rng: random.Random) -> Example | None:
        """Draw an example.

        Args:
            rng: chooses target and inputs.

        Returns:
            The example; None where an input of what was drawn is missing.
        """
        target, other = rng.sample(rng.choice(self.poses), 2)
        material = self.pool.records[target]["things"][0][1]
        texture = self.cut(target, PATCH)
        if texture is None or rng.random() < 0.5:
            texture = self.picture(self.swatches[(f"/{material}",)], rng)
        seen = target if rng.random() < self.SELF else other
        return Example(target, (self.pool.pictures[seen], texture))


class UnionRecipe(Recipe):
    """Recipe of union: (a thing, another thing) -> both beside each other.

    Things of a target in the white studio are cut out of it half the time, which is the published
    recipe. Otherwise they come from two pictures that show one thing each before the target's
    background.
    """

    operator = UNION
    CUT = 0.5  # share of targets in the studio whose things are cut out of them

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.alone = pool.rows("single", "thing", "background")
        self.pairs = [row for rows in pool.rows("pair").values() for row in rows]

    def example(self, rng: random.Random) -> Example | None:
        """Draw an example.

        Args:
            rng: chooses target and inputs.

        Returns:
            The example; None where an input of what was drawn is missing.
        """
        target = rng.choice(self.pairs)
        record = self.pool.records[target]
        slots: list[Tensor | None]
        if record["background"] == "studio" and rng.random() < self.CUT:
            slots = [self.cut(target, slot) for slot in (0, 1)]
        else:
            slots = [
                self.picture(self.alone.get(("/".join(thing), record["background"]), ()), rng)
                for thing in record["things"]
            ]
        if any(slot is None for slot in slots):
            return None
        if rng.random() < 0.5:
            slots.reverse()
        return Example(target, slots)


class SceneRecipe(Recipe):
    """Recipe of scene: (an object, a background) -> the object in front of the background.

    Half the time the object is cut out of the target, and is on white or pasted into another place,
    which is the published recipe. Otherwise it is seen in another picture altogether. The
    background is that of the target without the object, where there is such a picture, or else
    another one of the same kind.
    """

    operator = SCENE
    OTHER = 0.5

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.targets = [row for rows in pool.rows("single").values() for row in rows]
        self.things = pool.rows("single", "thing")
        self.own = pool.rows("empty", "geometry", "background")
        self.empty = pool.rows("empty", "background")

    def example(self, rng: random.Random) -> Example | None:
        """Draw an example.

        Args:
            rng: chooses target and inputs.

        Returns:
            The example; None where an input of what was drawn is missing.
        """
        target = rng.choice(self.targets)
        record = self.pool.records[target]
        place = record["background"]
        if rng.random() < self.OTHER:
            thing = self.picture(self.things[("/".join(record["things"][0]),)], rng)
        else:
            thing = self.cut(target, 0)
            thing = self.cut(target, 1) if thing is None else thing
        empty = self.own.get((record["geometry"], place)) or self.empty.get((place,), [])
        where = self.picture(empty, rng)
        return None if thing is None or where is None else Example(target, (thing, where))


class InstructRecipe(Recipe):
    """Recipe of instruct: (an object, an adjective) -> the same object as the adjective says.

    The published recipe has no pictures of the result and pulls the input towards the text. The
    pocket world has such pictures, and they are the targets here.
    """

    operator = INSTRUCT
    LONG = 0.25  # share of instructions that name the object as well

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.targets = [row for rows in pool.rows("adjective").values() for row in rows]
        self.plain = pool.rows("single", "geometry", "thing", "background")

    @property
    def texts(self) -> list[str]:
        """The adjectives alone, and each with each object."""
        return [*ADJECTIVES, *(instruction(a, o) for a in ADJECTIVES for o in OBJECTS)]

    def example(self, rng: random.Random) -> Example | None:
        """Draw an example.

        Args:
            rng: chooses target and inputs.

        Returns:
            The example; None where an input of what was drawn is missing.
        """
        target = rng.choice(self.targets)
        record = self.pool.records[target]
        key = (record["geometry"], "/".join(record["things"][0]), record["background"])
        seen = self.picture(self.plain.get(key, []), rng)
        if seen is None:
            return None
        text = record["adjective"]
        if rng.random() < self.LONG:
            text = instruction(text, record["things"][0][0])
        return Example(target, (seen,), text)


def instruction(adjective: str, shape: str) -> str:
    """Write an instruction such as "a tiny mug", in the plural where there are many."""
    if adjective == "many":
        return f"many {plural(shape)}"
    return with_article(f"{adjective} {shape}")


class ClothesRecipe(Recipe):
    """Recipe of clothes: (garments, each in its slot) -> a person who wears them.

    Half the time a garment is cut out of the target on white, which is the published recipe.
    Otherwise it comes from a picture of the garment alone. The slots of garments that are not worn
    are empty. Half the examples end with the slot of their last garment, as users give no more.
    """

    operator = CLOTHES
    ALONE = 0.5
    SHORT = 0.5

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.targets = pool.rows("outfit", "background")[("studio",)]

    def example(self, rng: random.Random) -> Example | None:
        """Draw an example.

        Args:
            rng: chooses target and inputs.

        Returns:
            The example; None where an input of what was drawn is missing.
        """
        target = rng.choice(self.targets)
        slots: list[Tensor | None] = [None] * len(GARMENT_SLOTS)
        for shape, material in self.pool.records[target]["things"]:
            alone = rng.random() < self.ALONE
            for name in SLOT_OF[shape.removeprefix("worn ")]:
                slot = GARMENT_SLOTS.index(name)
                rows = self.pool.garment_of[(slot, material)]
                cut = None if alone else self.cut(target, slot)
                slots[slot] = self.pool.garments[rng.choice(rows)] if cut is None else cut
        if rng.random() < self.SHORT:
            last = max(i for i, slot in enumerate(slots) if slot is not None)
            slots = slots[: last + 1]
        return Example(target, slots)


RECIPES: dict[str, Callable[[Pool], Recipe]] = {
    recipe.operator.name: recipe
    for recipe in (TexturingRecipe, UnionRecipe, SceneRecipe, InstructRecipe, ClothesRecipe)
}
