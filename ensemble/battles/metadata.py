"""What a file says of its battles beside them: session, judge, language, time; no learner sees it.

It is kept to join battles into groups, and to look at them by.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.turns import to_utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 200
"""Characters of the longest text that is a value, and no text to read."""
_TAKEN = frozenset({"id", "source"})
_TIMES = (dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal)
_VALUES = (str, bool, int, float, *_TIMES)


def metadata_of(chunks: Sequence[dict[str, list[Any]]], counts: Sequence[int]) -> pl.DataFrame:
    """Put the metadata of the rows of a source into one table.

    Parameters
    ----------
    chunks
        Cells by column, chunk after chunk.
    counts
        Rows of each chunk.

    Returns
    -------
    polars.DataFrame
        Columns of numbers, truth values, times or short text; those with records, lists or long
        text are left out, and so are empty ones.
    """
    names = dict.fromkeys(name for chunk in chunks for name in chunk if name not in _TAKEN)
    columns = []
    for name in names:
        parts = [
            chunk.get(name) or [None] * count for chunk, count in zip(chunks, counts, strict=True)
        ]
        series = _series(name, [cell for part in parts for cell in part])
        if series is not None:
            columns.append(series)
    return pl.DataFrame(columns)


def combine_metadata(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put the metadata of several sources below each other; what differs in type becomes text."""
    kinds: dict[str, set[pl.DataType]] = {}
    for table in tables:
        for name, kind in table.schema.items():
            kinds.setdefault(name, set()).add(kind)
    mixed = [name for name, found in kinds.items() if len(found) > 1]
    same = [
        table.with_columns(pl.col(n).cast(pl.String) for n in mixed if n in table.columns)
        for table in tables
    ]
    return pl.concat(same, how="diagonal") if same else pl.DataFrame({"id": []})


def _series(name: str, cells: list[Any]) -> pl.Series | None:
    filled = [cell for cell in cells if cell is not None and cell != ""]
    if not filled:
        return None
    kinds = set(map(type, filled))
    if not all(issubclass(kind, _VALUES) for kind in kinds):
        return None
    if str in kinds and max(len(cell) for cell in filled if isinstance(cell, str)) > LONGEST:
        return None
    if kinds <= {int, float} or kinds == {bool}:
        kind = pl.Boolean if bool in kinds else pl.Float64 if float in kinds else pl.Int64
        return _typed(name, cells, kind)
    if len(kinds) == 1 and kinds <= set(_TIMES):
        return pl.Series(name, cells, strict=False)
    texts = [None if cell is None or cell == "" else to_utf8(str(cell)) for cell in cells]
    return pl.Series(name, texts, dtype=pl.String)


def _typed(name: str, cells: list[Any], kind: type[pl.DataType]) -> pl.Series:
    numbers = [None if cell == "" else cell for cell in cells]
    try:
        return pl.Series(name, numbers, dtype=kind, strict=kind != pl.Float64)
    except (OverflowError, TypeError, pl.exceptions.PolarsError):  # beyond 64 bits
        texts = [None if cell is None else str(cell) for cell in numbers]
        return pl.Series(name, texts, dtype=pl.String)
