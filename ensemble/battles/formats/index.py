"""A number that says which answer is the better one: counted from 0 or from 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.labels import UNKNOWN_WINNER, is_missing
from ensemble.battles.turns import BadCell
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
    """

    def __init__(self, name: str, first: int | None = None) -> None:
        self.name, self.first = name, first

    def look(self, chunk: Chunk) -> None:
        """Find out where the numbers begin: a 0 shows the one, a missing 0 beside a 2 the other.

        Raises
        ------
        DataError
            All are 1, which says nothing.
        """
        if self.first is not None:
            return
        values = {_whole(cell) for cell in chunk.columns.get(self.name, ())} - {None}
        if not values:
            return
        if 0 in values:
            self.first = 0
        elif len(values) > 1:
            self.first = 1
        else:
            raise DataError(
                f"{self.name} is {values.pop()} in every row: counted from 0 or from 1?",
                where=chunk.file,
                hint='say what it means: winner = { "0" = "a", "1" = "b" }',
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
        number = _whole(cell)
        place = None if number is None else number - (self.first or 0)
        if place is None or not 0 <= place < count:
            first = self.first or 0
            known = f"known are {first} to {first + count - 1}"
            raise BadCell(f"{UNKNOWN_WINNER} {cell!r:.40} in {self.name}; {known}")
        return place


def _whole(cell: object) -> int | None:
    """Read a whole number, also where a program has written it as a float or as text."""
    if isinstance(cell, bool) or is_missing(cell):
        return None
    try:
        number = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None
