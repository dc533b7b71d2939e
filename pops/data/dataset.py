"""Training examples of any operator by (epoch, index); operators differ only in their recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from torch.utils.data import Dataset

from pops.data.order import Parts
from pops.data.reader import Reader, RecipeSettings
from pops.data.recipes import Example, Recipe, make_example
from pops.data.records import Record
from pops.errors import DataError, InputError
from pops.operators import Operator

__all__ = ["BrokenRecords", "Drawn", "ExampleDataset", "Part"]


@dataclass(frozen=True)
class Part:
    """One dataset: where it is, and its records."""

    place: str
    records: Sequence[Record]


@dataclass(frozen=True)
class Drawn:
    """The example of a row, and why broken records were passed over to find it."""

    example: Example | None  # None where too many were broken to look further
    broken: tuple[str, ...] = ()


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

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(self.parts.lengths)

    def __getitem__(self, key: tuple[int, int]) -> Drawn:
        # What was found broken before is not remembered: a row must not depend on other rows.
        part, record, turn = map(int, self.parts.locate(*key))
        broken: list[str] = []
        most = min(self.max_broken_share * self.records, self.parts.lengths[part] - 1)
        while len(broken) <= most:
            reader = Reader(self.settings)
            try:
                example = self.draw(part, record, turn, reader)
                return Drawn(example, (*broken, *reader.broken))
            except InputError as error:
                broken.append(str(error))
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
            raise DataError(f"no record is whole around here; the last: {drawn.broken[-1]}")
        return drawn.example


class BrokenRecords:
    """Why records of a dataset are broken, each reason once; every one names its file.

    DataError when they are more than a share of all records.
    """

    def __init__(self, dataset: ExampleDataset) -> None:
        self.dataset = dataset
        self.reasons: list[str] = []

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, reasons: Iterable[str]) -> list[str]:
        """Those of the reasons that were not known before."""
        new = [reason for reason in dict.fromkeys(reasons) if reason not in self.reasons]
        self.reasons += new
        share, records = self.dataset.max_broken_share, self.dataset.records
        if len(self.reasons) > share * records:
            raise DataError(
                f"{len(self.reasons)} of {records} records are broken, more than the share of "
                f"{share:g} that --max_broken_share allows; the last: {self.reasons[-1]}"
            )
        return new
