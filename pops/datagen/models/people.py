"""Dressed people from a human-parsing set: a folder, or a dataset of the hub."""

from __future__ import annotations

from collections.abc import Sequence

from pops.data.records.persons import PersonRecord, read_persons
from pops.datagen.stages import LoadPerson, ParsedPerson, Picture
from pops.errors import DataError

__all__ = ["People"]


class People:
    """Gives the pictures of a set of people by their numbers."""

    def __init__(self, place: str, records: Sequence[PersonRecord]) -> None:
        self.place = place
        self.records = records

    @classmethod
    def load(cls, place: str) -> People:
        """Open a set of people.

        Args:
            place: A folder, or the name of a dataset of the hub.

        Returns:
            The stage.

        Raises:
            DataError: There is no such set.
        """
        return cls(place, read_persons(place))

    def __call__(self, asked: Sequence[LoadPerson]) -> list[ParsedPerson]:
        return [self._person(request.number) for request in asked]

    def _person(self, number: int) -> ParsedPerson:
        if number >= len(self.records):
            raise DataError(
                f"{self.place} has {len(self.records)} people, and some show no garment that "
                "is large enough: ask for fewer with --count"
            )
        image, labels = self.records[number].open()
        return ParsedPerson(Picture(image), labels)
