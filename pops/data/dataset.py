"""Training examples of any operator by (epoch, index). Operators differ only in their recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from torch.utils.data import Dataset

from pops.data.order import MixedOrder
from pops.data.reader import Reader, RecipeSettings
from pops.data.recipes import Example, Recipe, make_example
from pops.data.records.layouts import Record
from pops.errors import DataError, InputError, PopsError
from pops.operators import Operator

__all__ = ["BrokenRecords", "ExampleDataset", "LoadedExample", "ListedDataset"]


@dataclass(frozen=True)
class ListedDataset:
    """One dataset: its path or name, and its records."""

    place: str
    records: Sequence[Record]


@dataclass(frozen=True)
class LoadedExample:
    """The example of a row, and why broken records were passed over to find it."""

    example: Example | None  # None where too many records were broken to look further
    broken: tuple[str, ...] = ()


class ExampleDataset(Dataset[LoadedExample]):
    """A map-style dataset: `dataset[epoch, index]` is a pure function of (seed, epoch, index).

    With several folders each is equally likely, whatever its size. In place of a broken record
    the next one is taken.
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
        self.listed = [ListedDataset(str(place), recipe.read(str(place))) for place in places]
        self.parts = MixedOrder(tuple(len(part.records) for part in self.listed))

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def records(self) -> int:
        """The number of records in all folders."""
        return sum(self.parts.lengths)

    def __getitem__(self, key: tuple[int, int]) -> LoadedExample:
        # Broken records are not remembered here: a row must not depend on other rows.
        part, record, turn = map(int, self.parts.locate(*key))
        broken: list[str] = []
        most = min(self.max_broken_share * self.records, self.parts.lengths[part] - 1)
        while len(broken) <= most:
            reader = Reader(self.settings)
            try:
                example = self.load(part, record, turn, reader)
                return LoadedExample(example, (*broken, *reader.broken))
            except InputError as error:
                broken.append(str(error))
            record = (record + 1) % self.parts.lengths[part]
        return LoadedExample(None, tuple(broken))

    def load(self, part: int, record: int, turn: int, reader: Reader | None = None) -> Example:
        """Make the example of a record in one of its turns.

        Args:
            part: The number of the folder.
            record: The number of the record in it.
            turn: How often the record was visited before.
            reader: Keeps the files that it opens, for the other turns of the same record.

        Returns:
            The example.

        Raises:
            InputError: The record is broken, in whatever way.
            DataError: The recipe does not fit its operator.
        """
        rng = Random(f"{self.seed}/{turn}/{part}/{record}")
        reader = Reader(self.settings) if reader is None else reader
        chosen = self.listed[part].records[record]
        try:
            example = make_example(self.recipe, self.operator, chosen, rng, reader)
        except PopsError:
            raise
        except Exception as error:  # damaged files must not end a run, whatever is in them
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(f"{_named(chosen)} gives no example ({reason})") from error
        if len(example.inputs) != len(self.operator.inputs):
            raise DataError(
                f"the recipe {self.recipe.name} gives {len(example.inputs)} inputs, but "
                f"{self.operator.name} has {len(self.operator.inputs)} slots: change one of "
                "them"
            )
        return example

    def example(self, epoch: int, index: int) -> Example:
        """Load the example of a row, with its pictures as pictures.

        Args:
            epoch: The epoch.
            index: The number of the row in it.

        Returns:
            The example.

        Raises:
            DataError: Too many records in turn are broken.
        """
        loaded = self[epoch, index]
        if loaded.example is None:
            raise DataError(f"too many records in a row are broken; the last: {loaded.broken[-1]}")
        return loaded.example


def _named(record: Record) -> str:
    """Name a record by its first file, where it has any."""
    files = tuple(record.files)
    return str(files[0]) if files else record.name


class BrokenRecords:
    """Counts the broken records of a dataset, by the reasons that name their files."""

    def __init__(self, dataset: ExampleDataset) -> None:
        self.dataset = dataset
        self.reasons: dict[str, None] = {}  # in the order in which they were found

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, reasons: Iterable[str]) -> list[str]:
        """Count reasons, each of them once.

        Args:
            reasons: Why records are broken.

        Returns:
            The reasons that were not known before.

        Raises:
            DataError: More records are broken than the dataset's `max_broken_share` allows.
        """
        new = [reason for reason in dict.fromkeys(reasons) if reason not in self.reasons]
        self.reasons |= dict.fromkeys(new)
        share, records = self.dataset.max_broken_share, self.dataset.records
        if len(self.reasons) > share * records:
            last = next(reversed(self.reasons))
            raise DataError(
                f"{len(self.reasons)} of {records} records are broken, which is more than the "
                f"share of {share:g} that --max_broken_share allows; the last: {last}"
            )
        return new
