"""A number that says which answer is the better one: counted from 0 or from 1."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ensemble.battles.labels import UNKNOWN_WINNER, is_missing, whole_number
from ensemble.battles.turns import BadCell, list_of
from ensemble.errors import DataError

if TYPE_CHECKING:
    from ensemble.battles.files.raw import Chunk


class Start:
    """Where the numbers of a column begin: its first rows say it, or the names of the answers.

    Parameters
    ----------
    name
        The column.
    first
        The number of the first answer; None where its rows have to say it.
    answers
        The column of the lists of answers; None where there are two.
    """

    def __init__(self, name: str, first: int | None = None, answers: str | None = None) -> None:
        self.name, self.first, self.answers = name, first, answers

    def look(self, chunk: Chunk) -> None:
        """Find out where the numbers begin: a 0 shows the one, a missing 0 beside a 2 the other.

        Raises
        ------
        DataError
            They say nothing, such as 1 in every row, or two things.
        """
        if self.first is not None:
            return
        found = (whole_number(cell) for cell in chunk.columns.get(self.name, ()))
        values = {value for value in found if value is not None}
        if not values:
            return
        if self.answers is None and {0, 1, 2} <= values:
            raise self._unclear(chunk, "is 0, 1 and 2, and there are two answers")
        if 0 in values:
            self.first = 0
        elif len(values) > 1 and max(values) >= self._count(chunk):
            self.first = 1
        else:
            told = ", ".join(map(str, sorted(values)[:5]))
            raise self._unclear(chunk, f"is {told}, and never 0: counted from 0 or from 1?")

    def _count(self, chunk: Chunk) -> int:
        """Count the answers of the row with most of them; 0 where it cannot be told."""
        if self.answers is None:
            return 2
        counts = [0]
        for cell in chunk.columns.get(self.answers, ()):
            with suppress(BadCell):  # its row says so
                counts.append(len(list_of(cell, self.answers, "answers")))
        return max(counts)

    def _unclear(self, chunk: Chunk, what: str) -> DataError:
        return DataError(
            f"{self.name} {what}",
            where=chunk.file,
            hint='say what it means: winner = { "0" = "a", "1" = "b", "2" = "tie" }'
            if self.answers is None
            else "write numbers that begin with 0",
        )

    def place(self, cell: object, count: int) -> int:
        """Give the place of the better answer, from 0, among as many.

        Raises
        ------
        BadCell
            It is missing, or the place of none.
        """
        if is_missing(cell):
            raise BadCell(f"{self.name} is missing")
        number = whole_number(cell)
        place = None if number is None else number - (self.first or 0)
        if place is None or not 0 <= place < count:
            first = self.first or 0
            known = f"known are {first} to {first + count - 1}"
            raise BadCell(f"{UNKNOWN_WINNER} {cell!r:.40} in {self.name}; {known}")
        return place
