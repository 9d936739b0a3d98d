"""Times of rows, and folds that are successive blocks of time."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.group_columns import filled, values_of
from ensemble.battles.schema import TARGET_ROLE, TEST_ROLE
from ensemble.errors import FoldError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

_HINT = "times are numbers, dates, or ISO texts such as 2024-05-01T12:30:00Z"
_SHOWN = 3
_UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_THIS_CENTURY = (946_684_800.0, 4_102_444_800.0)
"""Seconds since 1970, of which a thousandth or a thousandfold is far away."""


def times_of(ids: pl.Series, roles: pl.Series, metadata: pl.DataFrame, column: str) -> pl.Series:
    """Give the time of each row: ``(n,)`` float64, in the unit of its column or in seconds.

    Parameters
    ----------
    ids, roles
        ``(n,)`` id of each row, and its role: target rows must have a time, and nobody asks for
        those of test rows, which are null.
    metadata, column
        As in ``values_of``. Numbers are taken as they are; dates and ISO texts without a zone are
        UTC.

    Raises
    ------
    FoldError
        There is no such column; a target row has no time; a value is none, with its row; or numbers
        are in several units.
    """
    asked = roles != TEST_ROLE
    values = values_of(ids, metadata, column).set(~asked, None)
    if values.dtype == pl.String:
        values = filled(values)
    elif values.dtype.is_float():
        values = values.fill_nan(None)
    missing = ids.filter(values.is_null() & (roles == TARGET_ROLE))
    if len(missing):
        _refuse(f"{len(missing):,} target rows have no time", missing, column)
    return _numbers(values, ids, column)


def _numbers(values: pl.Series, ids: pl.Series, column: str) -> pl.Series:
    kind = values.dtype
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        micros = values.cast(pl.Datetime("us"), strict=True).to_physical()
        return micros.cast(pl.Float64) / 1e6
    if kind == pl.String:
        parse = _parser(values)
        parsed = [None if value is None else parse(value) for value in values]
        numbers = pl.Series(parsed, dtype=pl.Float64)
    elif kind.is_numeric():
        numbers = values.cast(pl.Float64)
    else:
        raise FoldError(f'values of "{column}" are no times', where="folds", hint=_HINT)
    odd = ids.filter(values.is_not_null() & ~numbers.is_finite().fill_null(value=False))
    if len(odd):
        first = values.filter(ids == odd[0])[0]
        _refuse(f"{len(odd):,} rows have a time that is none, such as {first!r}", odd, column)
    _refuse_units(numbers, ids, column)
    return numbers


def _refuse_units(numbers: pl.Series, ids: pl.Series, column: str) -> None:
    """Refuse numbers of which some are seconds since 1970, others milliseconds: none is earlier."""
    found = []
    for unit, scale in _UNITS.items():
        rows = ids.filter((numbers / scale).is_between(*_THIS_CENTURY).fill_null(value=False))
        found += (
            [f"{len(rows):,} rows look like {unit} (such as id {rows[0]})"] if len(rows) else []
        )
    if len(found) > 1:
        raise FoldError(
            f"times are in several units: {', '.join(found)}",
            where=f'column "{column}"',
            hint="write all of them in one unit, in whatever source they stand",
        )


def _parser(texts: pl.Series) -> Callable[[str], float]:
    """Read all as numbers where most of those that can be read are numbers, else as ISO texts."""
    asked = texts.drop_nulls()
    numbers = sum(math.isfinite(_number(text)) for text in asked)
    dates = sum(math.isfinite(_iso(text)) for text in asked.filter(~asked.str.contains(r"^\d+$")))
    return _number if numbers > dates or not len(asked) else _iso


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _iso(text: str) -> float:
    if text.endswith(" UTC"):  # as Polars writes a time with that zone
        text = f"{text[:-4]}+00:00"
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()


def _refuse(what: str, ids: pl.Series, column: str) -> None:
    shown = ", ".join(ids.head(_SHOWN))
    raise FoldError(what, where=f'column "{column}", id {shown}', hint=_HINT)


def time_blocks(times: FloatArray, n_blocks: int) -> IntArray:
    """Divide rows into successive blocks of about as many rows; rows of one time stay together.

    Parameters
    ----------
    times
        ``(n,)``, finite.
    n_blocks
        Number of blocks; none is empty.

    Returns
    -------
    ndarray of int64, shape (n,)
        The block of each row, from 0, the earliest.

    Raises
    ------
    FoldError
        There are fewer different times than blocks.
    """
    moments, moment, counts = np.unique(times, return_inverse=True, return_counts=True)
    if len(moments) < n_blocks:
        raise FoldError(
            f"{len(moments)} different times cannot fill {n_blocks} blocks: "
            f"{n_blocks - 1} folds and the rows before the first",
            hint="set n_splits lower, or name a column with finer times",
        )
    before = np.cumsum(counts) - counts
    wanted = (before + counts / 2) * n_blocks / counts.sum()
    block = np.zeros(len(moments), dtype=np.int64)
    for i in range(1, len(moments)):
        # Enough moments must be left for the blocks to come, and none may be skipped.
        least = max(int(wanted[i]), n_blocks - (len(moments) - i), int(block[i - 1]))
        block[i] = min(least, int(block[i - 1]) + 1, n_blocks - 1)
    return block[moment]


def latest_rows(times: FloatArray, share: float) -> BoolArray:
    """Mark the latest rows, at most this share: ``(n,)``; rows of one time stay together."""
    _, moment, counts = np.unique(times, return_inverse=True, return_counts=True)
    from_here = np.cumsum(counts[::-1])[::-1]
    return np.asarray((from_here <= share * len(times))[moment])
