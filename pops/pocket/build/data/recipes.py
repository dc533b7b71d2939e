"""What the operators learn from: recipes from the records of pictures to examples.

They keep to the published recipes where the world allows it, and to one rule more, so that every
example has one right answer: the result stands where its inputs stand, and white is the studio.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pops.operators import CLOTHES, INSTRUCT, SCENE, TEXTURING, UNION, Operator
from pops.operators import GARMENTS as GARMENT_SLOTS
from pops.pocket.build.data.embeds import PATCH, Embeds
from pops.pocket.world.cutout import SLOT_OF
from pops.pocket.world.scene import plural, with_article
from pops.pocket.world.vocabulary import ADJECTIVES, OBJECTS

__all__ = [
    "RECIPES",
    "ClothesRecipe",
    "Example",
    "InstructRecipe",
    "Pool",
    "Recipe",
    "SceneRecipe",
    "TexturingRecipe",
    "UnionRecipe",
    "make_pool",
]

Rows = dict[tuple[str, ...], list[int]]
Record = dict[str, Any]


@dataclass(frozen=True)
class Pool:
    """Records, and embeddings of their pictures and of what was cut out of them.

    cut_of: row of a picture -> slot -> row of `cuts`. garment_of: (slot, material) -> rows of
    `garments`, which are alone.
    """

    records: list[Record]
    pictures: Tensor  # (N, D)
    cuts: Tensor  # (C, D)
    cut_of: dict[int, dict[int, int]]
    garments: Tensor  # (G, D)
    garment_of: dict[tuple[int, str], list[int]]

    def normalised(self, stats: Mapping[str, Tensor]) -> "Pool":
        """The same in the space of a prior, by its `clip_mean` and `clip_std`."""
        embeds = (self.pictures, self.cuts, self.garments)
        mean, std = (stats[name].float().reshape(1, -1) for name in ("clip_mean", "clip_std"))
        pictures, cuts, alone = ((e - mean) / std for e in embeds)
        return replace(self, pictures=pictures, cuts=cuts, garments=alone)

    def rows(self, kind: str, *keys: str) -> Rows:
        """Rows of a kind by their geometry, background or (one) thing: shape, material."""
        found: Rows = {}
        for i, record in enumerate(self.records):
            if record["kind"] == kind:
                things = record["things"]
                said = {**record, "thing": "/".join(things[0]) if things else ""}
                found.setdefault(tuple(str(said[k]) for k in keys), []).append(i)
        return found


def make_pool(
    records: list[Record], embeds: Embeds, garment_records: Sequence[Record], garments: Tensor
) -> Pool:
    """A pool of pictures and of garments alone (G, D)."""
    garment_of: dict[tuple[int, str], list[int]] = {}
    for i, record in enumerate(garment_records):
        slot = GARMENT_SLOTS.index(record["name"])
        garment_of.setdefault((slot, record["things"][0][1]), []).append(i)
    return Pool(records, embeds.pictures, embeds.cuts, embeds.by_row(), garments, garment_of)


@dataclass(frozen=True)
class Example:
    """One target picture's row and its conditions: normalised embeddings by slot, and a text."""

    target: int
    slots: Sequence[Tensor | None]
    text: str | None = None


class Recipe:
    """What the recipes below have in common."""

    operator: Operator

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @property
    def texts(self) -> list[str]:
        """All that an example's text may be."""
        return []

    def example(self, rng: random.Random) -> Example | None:
        """One example; None where what was drawn lacks an input."""
        raise NotImplementedError

    def cut(self, row: int, slot: int) -> Tensor | None:
        """What is cut out of a picture."""
        found = self.pool.cut_of.get(row, {}).get(slot)
        return None if found is None else self.pool.cuts[found]

    def picture(self, rows: Sequence[int], rng: random.Random) -> Tensor | None:
        return self.pool.pictures[rng.choice(rows)] if rows else None


class TexturingRecipe(Recipe):
    """(an object in a place, a texture) -> the same picture with the object made of the texture.

    The published recipe: the object's picture differs from the target in its material, or is the
    target itself 0.2 of the time; the exemplar is a patch of the target or a flat swatch.
    """

    operator = TEXTURING
    SELF = 0.2

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        found = pool.rows("single", "geometry", "background").values()
        self.poses = [rows for rows in found if len(rows) > 1]
        self.swatches = pool.rows("swatch", "thing")

    def example(self, rng: random.Random) -> Example | None:
        target, other = rng.sample(rng.choice(self.poses), 2)
        material = self.pool.records[target]["things"][0][1]
        texture = self.cut(target, PATCH)
        if texture is None or rng.random() < 0.5:
            texture = self.picture(self.swatches[(f"/{material}",)], rng)
        seen = target if rng.random() < self.SELF else other
        return Example(target, (self.pool.pictures[seen], texture))


class UnionRecipe(Recipe):
    """(a thing, another) -> both beside each other.

    The published recipe, both cut out of the target on white, for targets in the studio; and two
    pictures of the things alone in the target's place, for targets anywhere.
    """

    operator = UNION
    CUT = 0.5  # share of targets in the studio whose things are cut out of them

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.alone = pool.rows("single", "thing", "background")
        self.pairs = [row for rows in pool.rows("pair").values() for row in rows]

    def example(self, rng: random.Random) -> Example | None:
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
    """(an object, a place) -> the object in the place.

    The object is cut out of the target, on white or pasted into another place by turns, as
    published, or half the time seen in another picture altogether. The place is the target's own
    without the object where there is such a picture, else one of its kind.
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
    """(an object, an adjective) -> the same object as the adjective says.

    The published recipe has no such pictures and pulls the input towards the text; here there are
    true ones, of the input itself.
    """

    operator = INSTRUCT
    LONG = 0.25  # share of instructions that say the object as well

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.targets = [row for rows in pool.rows("adjective").values() for row in rows]
        self.plain = pool.rows("single", "geometry", "thing", "background")

    @property
    def texts(self) -> list[str]:
        return [*ADJECTIVES, *(instruction(a, o) for a in ADJECTIVES for o in OBJECTS)]

    def example(self, rng: random.Random) -> Example | None:
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
    """Such as "a tiny mug"; in plural where there are many."""
    if adjective == "many":
        return f"many {plural(shape)}"
    return with_article(f"{adjective} {shape}")


class ClothesRecipe(Recipe):
    """(garments, each in its slot) -> a person who wears them.

    Each is cut out of the target on white, as published, or half the time seen alone. Slots of
    what is not worn are zero; half the time those after the last garment are not there at all.
    """

    operator = CLOTHES
    ALONE = 0.5
    SHORT = 0.5

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.targets = pool.rows("outfit", "background")[("studio",)]

    def example(self, rng: random.Random) -> Example | None:
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
