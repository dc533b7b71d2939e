"""Training examples of any operator by (epoch, index); operators differ only in their recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from torch.utils.data import Dataset

from pops.data.order import Parts
from pops.data.reader import Reader, RecipeSettings
from pops.data.recipes import Example, Recipe, make_example
from pops.data.records import Record
from pops.errors import DataError, InputError
from pops.operators import Operator

__all__ = ["Broken", "BrokenRecords", "Drawn", "ExampleDataset", "Part"]


@dataclass(frozen=True)
class Part:
    """One dataset: where it is, and its records."""

    place: str
    records: Sequence[Record]


@dataclass(frozen=True)
class Broken:
    """A record that cannot be used, and why."""

    part: int
    record: int
    reason: str


@dataclass(frozen=True)
class Drawn:
    """The example of a row, and the broken records that were passed over to find it."""

    example: Example | None  # None where too many were broken to look further
    broken: tuple[Broken, ...] = ()


class ExampleDataset(Dataset[Drawn]):
    """Map-style: `dataset[epoch, index]`. Every example is a pure function of (seed, epoch, index).

    With several datasets each is equally likely, whatever its size. A broken record is passed
    over for the one after it.
    """

    def __init__(
        self,
        operator: Operator,
        recipe: Recipe,
        places: Sequence[str],
        settings: RecipeSettings | None = None,
        *,
        seed: int = 0,
        max_broken_share: float = 0.05,
    ) -> None:
        if not places:
            raise DataError("no dataset is given: name one or more by --dataset_path")
        self.operator = operator
        self.recipe = recipe
        self.settings = RecipeSettings() if settings is None else settings
        self.seed = seed
        self.max_broken_share = max_broken_share
        self.listed = [Part(str(place), recipe.read(str(place))) for place in places]
        self.parts = Parts(tuple(len(part.records) for part in self.listed))
        self._broken: dict[tuple[int, int], Broken] = {}  # found by this process

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(self.parts.lengths)

    def __getitem__(self, key: tuple[int, int]) -> Drawn:
        part, record, turn = map(int, self.parts.locate(*key))
        broken: list[Broken] = []
        while len(broken) <= self.max_broken_share * self.records:
            known = self._broken.get((part, record))
            if known is None:
                try:
                    return Drawn(self.draw(part, record, turn), tuple(broken))
                except InputError as error:
                    known = Broken(part, record, str(error))
                    self._broken[part, record] = known
            if known in broken:  # once around
                break
            broken.append(known)
            record = (record + 1) % self.parts.lengths[part]
        return Drawn(None, tuple(broken))

    def draw(self, part: int, record: int, turn: int, reader: Reader | None = None) -> Example:
        """The example of a record in one of its turns; InputError where the record is broken.

        `reader`: keeps what it opens, for the other turns of the same record.
        """
        rng = Random(f"{self.seed}/{turn}/{part}/{record}")
        reader = Reader(self.settings) if reader is None else reader
        chosen = self.listed[part].records[record]
        example = make_example(self.recipe, self.operator, chosen, rng, reader)
        if len(example.inputs) != len(self.operator.inputs):
            raise DataError(
                f"the recipe {self.recipe.name} gives {len(example.inputs)} inputs, but "
                f"{self.operator.name} has {len(self.operator.inputs)} slots"
            )
        return example

    def example(self, epoch: int, index: int) -> Example:
        """The example of a row, its pictures still pictures; DataError where all are broken."""
        drawn = self[epoch, index]
        if drawn.example is None:
            raise DataError(f"broken: {drawn.broken[-1].reason}")
        return drawn.example


class BrokenRecords:
    """The broken records of a dataset as they are found: each is told of once.

    DataError when they are more than a share of all records.
    """

    def __init__(self, dataset: ExampleDataset) -> None:
        self.dataset = dataset
        self.found: dict[tuple[int, int], str] = {}

    def add(self, broken: Sequence[Broken]) -> list[str]:
        """The reasons of those that were not known before."""
        new = []
        for each in broken:
            if (each.part, each.record) not in self.found:
                self.found[each.part, each.record] = each.reason
                new.append(each.reason)
        share, records = self.dataset.max_broken_share, self.dataset.records
        if len(self.found) > share * records:
            raise DataError(
                f"{len(self.found)} of {records} records are broken, more than the share of "
                f"{share:g} that --max_broken_share allows; the last: {broken[-1].reason}"
            )
        return new
