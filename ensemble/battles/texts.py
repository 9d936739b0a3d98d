"""The three texts of a battle, from text columns or from two conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.battles.columns import TURN_COLUMN
from ensemble.battles.labels import whole_number
from ensemble.battles.messages import CONVERSATION_COLUMNS, conversations
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.turns import BadCell, looks_like_list, turns_of
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.turns import TextFormat, Turns


def texts_of(cells: Mapping[str, Any], text_format: TextFormat) -> tuple[Turns, Turns, Turns]:
    """Read the three texts of a row, from text columns or from two conversations.

    Parameters
    ----------
    cells
        The row by column name, with ``TEXT_COLUMNS`` or else ``CONVERSATION_COLUMNS``.
    text_format
        What a string in a text column is.

    Returns
    -------
    tuple
        Turns of the prompt, response A and response B; all of one length.

    Raises
    ------
    BadCell
        A text cannot be read, or the numbers of turns differ.
    """
    if TEXT_COLUMNS[0] in cells:
        prompt, a, b = [turns_of(cells[name], name, text_format) for name in TEXT_COLUMNS]
    if CONVERSATION_COLUMNS[0] in cells:
        told = conversations(*(cells[name] for name in CONVERSATION_COLUMNS))
        if TEXT_COLUMNS[0] in cells and told != (prompt, a, b):
            raise BadCell("conversation_a and conversation_b differ from prompt and responses")
        prompt, a, b = told
    if not len(prompt) == len(a) == len(b):
        raise BadCell(
            f"turn counts differ: prompt {len(prompt)}, response_a {len(a)}, response_b {len(b)}"
        )
    turn = cells.get(TURN_COLUMN)
    if turn is None:
        return prompt, a, b
    judged = _judged_turn(turn, len(prompt))
    return prompt[:judged], a[:judged], b[:judged]


def told_text_format(columns: Mapping[str, Sequence[Any]]) -> TextFormat:
    """Tell by some rows what a string in a text column is.

    Plain text, where no row has three lists and more rows have none at all than have some. A cell
    that begins and ends as a list of texts does counts as one, though it may be a broken one.

    Parameters
    ----------
    columns
        Cells by column.

    Returns
    -------
    str
        ``"auto"`` where no row has three strings, so that others have to tell.
    """
    if not set(TEXT_COLUMNS) <= set(columns):
        return "auto"
    lists = [0, 0, 0, 0]
    for cells in zip(*(columns[name] for name in TEXT_COLUMNS), strict=True):
        if all(isinstance(cell, str) for cell in cells):
            lists[sum(map(looks_like_list, cells))] += 1
    if not any(lists):
        return "auto"
    return "plain" if not lists[3] and lists[0] > lists[1] + lists[2] else "json"


@dataclass
class TurnNumbers:
    """What a column of turns has said so far, chunk after chunk.

    Parameters
    ----------
    zeros
        Rows with turns of which it is 0.
    cut
        Rows that it leaves turns out of.
    """

    zeros: int = 0
    cut: int = 0

    def add(self, columns: Mapping[str, Sequence[Any]], text_format: TextFormat, file: str) -> None:
        """Refuse a column that counts from 0, by which one turn too many would be left out.

        Parameters
        ----------
        columns
            Cells of some rows by column.
        text_format
            What a string in a text column is.
        file
            For errors.

        Raises
        ------
        DataError
            It is 0 in some rows so far, and of others it leaves turns out.
        """
        names = [name for name in (*TEXT_COLUMNS, *CONVERSATION_COLUMNS) if name in columns]
        for at, cell in enumerate(columns.get(TURN_COLUMN, ())):
            if (number := whole_number(cell)) is None:
                continue
            turns = _count({name: columns[name][at] for name in names}, text_format)
            self.zeros += number == 0 < turns
            self.cut += 0 < number < turns
        if self.zeros and self.cut:
            raise DataError(
                f"{TURN_COLUMN} is 0 in {self.zeros:,} rows, and turns count from 1: it would "
                f"leave turns out of {self.cut:,} others",
                where=file,
                hint="add 1 to it, or give the column another name if it means something else",
            )


def _count(cells: Mapping[str, Any], text_format: TextFormat) -> int:
    try:
        return len(texts_of(cells, text_format)[0])
    except BadCell:
        return 0


def _judged_turn(cell: object, turns: int) -> int | None:
    """Read which turn was judged: what comes after it has no part in the label; None is the last.

    Where a file means something else by the name of the column, it is left alone.

    Raises
    ------
    BadCell
        It is 0 of several turns: who counts from 0 means another turn by 1 too.
    """
    number = whole_number(cell)
    if number == 0 and turns > 1:
        raise BadCell("turn is 0 of several, and turns count from 1")
    return number if number is not None and number > 0 else None
