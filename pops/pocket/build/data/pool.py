"""The pool of records and embeddings that examples are made from, and the base of all recipes."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pops.operators import GARMENTS as GARMENT_SLOTS
from pops.operators import Operator
from pops.pocket.build.data.embeds import Embeds

__all__ = ["Example", "Pool", "Recipe", "make_pool"]

Rows = dict[tuple[str, ...], list[int]]
Record = dict[str, Any]


@dataclass(frozen=True)
class Pool:
    """Records, and embeddings of their pictures and of what was cut out of them.

    Args:
        records: the records of N pictures.
        pictures: (N, D), embeddings of the pictures.
        cuts: (C, D), embeddings of pieces that were cut out of them.
        cut_of: row of a picture -> slot -> row of `cuts`.
        garments: (G, D), embeddings of garments without a wearer.
        garment_of: (slot, material) -> rows of `garments`.
    """

    records: list[Record]
    pictures: Tensor
    cuts: Tensor
    cut_of: dict[int, dict[int, int]]
    garments: Tensor
    garment_of: dict[tuple[int, str], list[int]]

    def normalised(self, stats: Mapping[str, Tensor]) -> "Pool":
        """Normalise the embeddings for a prior.

        Args:
            stats: the prior's `clip_mean` and `clip_std`.

        Returns:
            A pool of normalised embeddings.
        """
        embeds = (self.pictures, self.cuts, self.garments)
        mean, std = (stats[name].float().reshape(1, -1) for name in ("clip_mean", "clip_std"))
        pictures, cuts, alone = ((e - mean) / std for e in embeds)
        return replace(self, pictures=pictures, cuts=cuts, garments=alone)

    def rows(self, kind: str, *keys: str) -> Rows:
        """Group the pictures of a kind.

        Args:
            kind: the kind of picture.
            keys: what those of a group have in common: `geometry`, `background` or `thing`, which
                is "shape/material" of the first thing.

        Returns:
            Values of the keys -> rows of the pictures.
        """
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
    """Make a pool of pictures and of garments without a wearer.

    Args:
        records: the records of N pictures.
        embeds: the embeddings of the pictures and of what was cut out of them.
        garment_records: the records of G pictures of garments.
        garments: (G, D), the embeddings of those.

    Returns:
        The pool.
    """
    garment_of: dict[tuple[int, str], list[int]] = {}
    for i, record in enumerate(garment_records):
        slot = GARMENT_SLOTS.index(record["name"])
        garment_of.setdefault((slot, record["things"][0][1]), []).append(i)
    return Pool(records, embeds.pictures, embeds.cuts, embeds.by_row(), garments, garment_of)


@dataclass(frozen=True)
class Example:
    """A training example of an operator.

    Args:
        target: the row of the target picture.
        slots: the conditions, by slot: normalised embeddings (D,), None where the slot is empty.
        text: the text, for operators that take one.
    """

    target: int
    slots: Sequence[Tensor | None]
    text: str | None = None


class Recipe:
    """A recipe: it makes random examples of its operator from a pool.

    Args:
        pool: normalised embeddings and their records.
    """

    operator: Operator

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @property
    def texts(self) -> list[str]:
        """All the texts that an example may have."""
        return []

    def example(self, rng: random.Random) -> Example | None:
        """Draw an example.

        Args:
            rng: chooses target and inputs.

        Returns:
            The example; None where an input of what was drawn is missing.
        """
        raise NotImplementedError

    def cut(self, row: int, slot: int) -> Tensor | None:
        """Find the embedding of a piece of a picture.

        Args:
            row: the row of the picture.
            slot: the slot of the piece.

        Returns:
            The embedding (D,); None where there is no such piece.
        """
        found = self.pool.cut_of.get(row, {}).get(slot)
        return None if found is None else self.pool.cuts[found]

    def picture(self, rows: Sequence[int], rng: random.Random) -> Tensor | None:
        """Choose the embedding of one of some pictures.

        Args:
            rows: the rows of the pictures.
            rng: chooses among them.

        Returns:
            The embedding (D,); None where there are no pictures.
        """
        return self.pool.pictures[rng.choice(rows)] if rows else None
