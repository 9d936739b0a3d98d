"""How much may come out of a file: what is packed to be unpacked without end is refused.

Text is packed to a tenth of its size, seldom to a fiftieth. What is made to fill a memory is packed
to a thousandth and less, by formats that can say "the same again, a million times".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

ALWAYS = 100 << 20
"""Bytes that any file may hold."""
TIMES = 200
"""How many times its own size a file may hold beyond that."""
LONGEST_LINE = 1 << 28
"""Bytes of one line, one cell or one row: more have no end, or are no text of a conversation."""
_ROWS, _ROWS_PER_BYTE = 1_000_000, 8
_VALUES = 10_000_000


def check_unpacked(path: Path, unpacked: int, packed: int) -> None:
    """Refuse more bytes than a file of that size holds unless it was made to.

    Raises
    ------
    DataError
        There are more.
    """
    if unpacked > ALWAYS and unpacked > TIMES * packed:
        raise DataError(
            f"the file holds {unpacked >> 20:,} MiB or more, over {TIMES:,} times its own size",
            where=str(path),
            hint="if that is no mistake, give it as JSON Lines that are not packed",
        )


def check_rows(path: Path, rows: int, packed: int) -> None:
    """Refuse more rows than a file of that size holds unless they are all the same.

    Raises
    ------
    DataError
        There are more.
    """
    if rows > _ROWS and rows > _ROWS_PER_BYTE * packed:
        raise DataError(
            f"the file says that it has {rows:,} rows, in {packed:,} bytes",
            where=str(path),
            hint="fetch it again: rows of battles differ from each other",
        )


def check_values(path: Path, values: int, packed: int) -> None:
    """Refuse more values of one column, turns of lists counted each, in the same way.

    Raises
    ------
    DataError
        There are more.
    """
    if values > _VALUES and values > _ROWS_PER_BYTE * packed:
        raise DataError(
            f"the file says that a column has {values:,} values, in {packed:,} bytes",
            where=str(path),
            hint="fetch it again: lists in it would have no end",
        )
