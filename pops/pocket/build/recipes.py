"""What the operators beside texturing learn from: recipes from records to examples.

They keep to the published recipes where the world allows it, and to one rule more, so that every
example has one right answer: the result stands where its inputs stand, and white is the studio.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pops.operators import CLOTHES, INSTRUCT, SCENE, UNION, Operator
from pops.operators import GARMENTS as GARMENT_SLOTS
from pops.pocket.build.clip import DIM, Clip
from pops.pocket.build.cutouts import Cutouts
from pops.pocket.build.embeds import Embeds
from pops.pocket.build.fit import device
from pops.pocket.world.cutout import SLOT_OF
from pops.pocket.world.scene import plural, with_article
from pops.pocket.world.split import is_held_out_outfit, is_held_out_pair
from pops.pocket.world.vocabulary import ADJECTIVES, MATERIALS, OBJECTS
from pops.prior.conditions import Conditions, condition_row, drop_conditions, pack
from pops.prior.model import Prior

__all__ = [
    "ClothesBatch",
    "Drawing",
    "Example",
    "InstructBatch",
    "Pool",
    "SceneBatch",
    "UnionBatch",
    "join",
]

BATCH = 128

Rows = dict[tuple[str, ...], list[int]]


@dataclass(frozen=True)
class Pool:
    """Records, and embeddings of their pictures and of what was cut out of them.

    cut_of: row of a picture -> slot -> rows of `cuts`. garment_of: (slot, material) -> rows of
    `garments`, which are alone.
    """

    records: list[dict[str, Any]]
    pictures: Tensor  # (N, D)
    cuts: Tensor  # (C, D)
    cut_of: dict[int, dict[int, list[int]]]
    garments: Tensor  # (G, D)
    garment_of: dict[tuple[int, str], list[int]]

    @torch.no_grad()
    def normalised(self, prior: Prior) -> "Pool":
        """The same in the prior's space, on the CPU, from which examples are drawn."""
        embeds = (self.pictures, self.cuts, self.garments)
        pictures, cuts, alone = (prior.normalise(e.to(device())).cpu() for e in embeds)
        return replace(self, pictures=pictures, cuts=cuts, garments=alone)

    def rows(self, kind: str, *keys: str) -> Rows:
        """Rows of a kind by their group, background or (one) thing: shape, material."""
        found: Rows = {}
        for i, record in enumerate(self.records):
            if record["kind"] == kind:
                things = record["things"]
                said = {**record, "thing": "/".join(things[0]) if things else ""}
                found.setdefault(tuple(str(said[k]) for k in keys), []).append(i)
        return found


def join(
    sources: Sequence[tuple[list[dict[str, Any]], Embeds, Cutouts]], garments: Cutouts
) -> Pool:
    """Several renderings as one pool; groups of different ones stay apart."""
    records: list[dict[str, Any]] = []
    cut_of: dict[int, dict[int, list[int]]] = {}
    cuts = 0
    for number, (own, _, cut) in enumerate(sources):
        for row, slots in cut.by_row().items():
            shifted = {s: [i + cuts for i in found] for s, found in slots.items()}
            cut_of[row + len(records)] = shifted
        records += [{**r, "group": f"{number}/{r.get('group')}"} for r in own]
        cuts += len(cut.embeds)
    garment_of: dict[tuple[int, str], list[int]] = {}
    for i, (row, slot) in enumerate(zip(garments.rows, garments.slots, strict=True)):
        garment_of.setdefault((slot, MATERIALS[row]), []).append(i)
    return Pool(
        records,
        torch.cat([embeds.pictures for _, embeds, _ in sources]),
        torch.cat([cut.embeds for _, _, cut in sources]),
        cut_of,
        garments.embeds,
        garment_of,
    )


@dataclass(frozen=True)
class Example:
    """One target picture's row and its conditions: normalised embeddings by slot, and a text."""

    target: int
    slots: Sequence[Tensor | None]
    text: str | None = None


class Drawing(Protocol):
    """Batches of examples, each a pure function of the step, and single examples."""

    operator: Operator
    texts: dict[str, Tensor]  # tokens (length, D) of what an example's text may be

    @property
    def pictures(self) -> Tensor:
        """(N, D) normalised, of which an example names its target."""

    def example(self, rng: random.Random) -> Example | None:
        """One example; None where what was drawn lacks an input."""

    def __call__(self, step: int) -> tuple[Tensor, Conditions]:
        """The targets (N, D) and conditions of a step."""


class Recipe:
    """What the recipes below have in common."""

    operator: Operator

    def __init__(self, pool: Pool, prior: Prior) -> None:
        self.pool = pool.normalised(prior)
        self.texts: dict[str, Tensor] = {}

    @property
    def pictures(self) -> Tensor:
        return self.pool.pictures

    def example(self, rng: random.Random) -> Example | None:
        """One example; None where what was drawn lacks an input."""
        raise NotImplementedError

    def __call__(self, step: int) -> tuple[Tensor, Conditions]:
        rng = random.Random(f"{self.operator.name}/{step}")
        drawn: list[Example] = []
        while len(drawn) < BATCH:
            example = self.example(rng)
            if example is not None:
                drawn.append(example)
        words = [None if e.text is None else self.texts[e.text] for e in drawn]
        packed = pack([condition_row(e.slots, DIM, w) for e, w in zip(drawn, words, strict=True)])
        tokens = drop_conditions(
            packed.tokens,
            each=self.operator.drop_each,
            all=self.operator.drop_all,
            slots=min(len(self.operator.inputs), packed.tokens.shape[1]),
            generator=torch.Generator().manual_seed(step),
        )
        return self.pool.pictures[[e.target for e in drawn]], Conditions(tokens, packed.mask)

    def cut(self, row: int, slot: int, rng: random.Random) -> Tensor | None:
        """What is cut out of a picture."""
        found = self.pool.cut_of.get(row, {}).get(slot)
        return self.pool.cuts[rng.choice(found)] if found else None

    def picture(self, rows: Sequence[int], rng: random.Random) -> Tensor | None:
        return self.pool.pictures[rng.choice(rows)] if rows else None


class UnionBatch(Recipe):
    """(a thing, another) -> both beside each other.

    The published recipe, both cut out of the target on white, for targets in the studio; and two
    pictures of the things alone in the target's place, for targets anywhere.
    """

    operator = UNION
    STUDIO = 0.35  # share of targets that are taken from the studio
    CUT = 0.5  # share of those whose things are cut out of them

    def __init__(self, pool: Pool, prior: Prior) -> None:
        super().__init__(pool, prior)
        self.alone = pool.rows("single", "thing", "background")
        self.pairs = [
            row
            for rows in pool.rows("pair", "group").values()
            for row in rows
            if not is_held_out_pair(*map(tuple, pool.records[row]["things"]))
        ]
        self.studio = [row for row in self.pairs if pool.records[row]["background"] == "studio"]

    def example(self, rng: random.Random) -> Example | None:
        target = rng.choice(self.studio if rng.random() < self.STUDIO else self.pairs)
        record = self.pool.records[target]
        slots: list[Tensor | None]
        if record["background"] == "studio" and rng.random() < self.CUT:
            slots = [self.cut(target, slot, rng) for slot in (0, 1)]
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


class SceneBatch(Recipe):
    """(an object, a place) -> the object in the place.

    The object is cut out of the target, on white or pasted into another place by turns, as
    published, or half the time seen in another picture altogether. The place is the target's own
    without the object where there is such a picture, else one of its kind.
    """

    operator = SCENE
    OTHER = 0.5

    def __init__(self, pool: Pool, prior: Prior) -> None:
        super().__init__(pool, prior)
        self.targets = [i for rows in pool.rows("single", "group").values() for i in rows]
        self.things = pool.rows("single", "thing")
        self.own = pool.rows("empty", "group", "background")
        self.empty = pool.rows("empty", "background")

    def example(self, rng: random.Random) -> Example | None:
        target = rng.choice(self.targets)
        record = self.pool.records[target]
        place = record["background"]
        if rng.random() < self.OTHER:
            thing = self.picture(self.things[("/".join(record["things"][0]),)], rng)
        else:
            thing = self.cut(target, 0, rng)
            thing = self.cut(target, 1, rng) if thing is None else thing
        empty = self.own.get((record["group"], place)) or self.empty.get((place,), [])
        where = self.picture(empty, rng)
        return None if thing is None or where is None else Example(target, (thing, where))


class InstructBatch(Recipe):
    """(an object, an adjective) -> the same object as the adjective says.

    The published recipe has no such pictures and pulls the input towards the text; here there are
    true ones, of the input itself where possible, else of one in its material and place.
    """

    operator = INSTRUCT
    LONG = 0.25  # share of instructions that say the object as well

    def __init__(self, pool: Pool, prior: Prior, clip: Clip) -> None:
        super().__init__(pool, prior)
        self.targets = [i for rows in pool.rows("adjective", "group").values() for i in rows]
        self.own = pool.rows("single", "group", "thing", "background")
        self.alike = pool.rows("single", "thing", "background")
        texts = [*ADJECTIVES, *(instruction(a, o) for a in ADJECTIVES for o in OBJECTS)]
        self.texts = {text: hidden_states(clip, text) for text in texts}

    def example(self, rng: random.Random) -> Example | None:
        target = rng.choice(self.targets)
        record = self.pool.records[target]
        thing, place = "/".join(record["things"][0]), record["background"]
        rows = self.own.get((record["group"], thing, place)) or self.alike.get((thing, place), [])
        seen = self.picture(rows, rng)
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


@torch.no_grad()
def hidden_states(clip: Clip, text: str) -> Tensor:
    """The last hidden states (length, D) of a text, with start and end token."""
    ids = clip.tokenizer([text], return_tensors="pt").to(device())
    out: Tensor = clip.text(ids.input_ids).last_hidden_state[0]
    return out.cpu()


class ClothesBatch(Recipe):
    """(garments, each in its slot) -> a person who wears them.

    Each is cut out of the target on white, as published, or half the time seen alone. Slots of
    what is not worn are zero; half the time those after the last garment are not there at all.
    """

    operator = CLOTHES
    ALONE = 0.5
    SHORT = 0.5

    def __init__(self, pool: Pool, prior: Prior) -> None:
        super().__init__(pool, prior)
        self.targets = [
            row
            for (place,), rows in pool.rows("outfit", "background").items()
            for row in rows
            if place == "studio" and not is_held_out_outfit(map(tuple, pool.records[row]["things"]))
        ]

    def example(self, rng: random.Random) -> Example | None:
        target = rng.choice(self.targets)
        slots: list[Tensor | None] = [None] * len(GARMENT_SLOTS)
        for shape, material in self.pool.records[target]["things"]:
            alone = rng.random() < self.ALONE
            for name in SLOT_OF[shape.removeprefix("worn ")]:
                slot = GARMENT_SLOTS.index(name)
                rows = self.pool.garment_of[(slot, material)]
                cut = None if alone else self.cut(target, slot, rng)
                slots[slot] = self.pool.garments[rng.choice(rows)] if cut is None else cut
        if rng.random() < self.SHORT:
            last = max(i for i, slot in enumerate(slots) if slot is not None)
            slots = slots[: last + 1]
        return Example(target, slots)
