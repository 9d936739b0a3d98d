"""Tables that a user holds in Python, Polars, pandas or Arrow, as battles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.columns import ID_COLUMNS
from ensemble.battles.loading import load_battles
from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE, TEXT_COLUMNS
from ensemble.errors import DataError, InputError

if TYPE_CHECKING:
    from ensemble.battles.turns import TextFormat

GROUPING_COLUMNS = ("source", "role", "cluster")
"""What a table may say of its rows beside their texts."""


def read_table(table: Any, text_format: TextFormat) -> pl.DataFrame:
    """Read a table of battles; labels and model names are not looked at.

    Parameters
    ----------
    table
        A DataFrame of Polars or pandas with the text columns of a file of battles, and ``id``;
        without it rows are named by their numbers.
    text_format
        What a string in a text column is.

    Returns
    -------
    polars.DataFrame
        ``LEARNER_COLUMNS``, and ``GROUPING_COLUMNS`` where the table has them, in its order.

    Raises
    ------
    InputError
        It is no table.
    DataError
        A column is missing, a row cannot be read, or an id is there twice.
    """
    frame = as_polars(table)
    if not set(ID_COLUMNS) & set(frame.columns):
        frame = frame.with_columns(id=pl.int_range(pl.len()).cast(pl.String))
    rows = load_battles(
        Path("the table"),
        source=TEST_SOURCE,
        role=TEST_ROLE,
        is_test=True,
        text_format=text_format,
        loader=lambda path, **options: frame,  # noqa: ARG005 - the table is given
        loader_name="table",
    ).battles
    given = [frame[name] for name in GROUPING_COLUMNS if name in frame.columns]
    return rows.select("id", *TEXT_COLUMNS).with_columns(given)


def is_table(value: object) -> bool:
    """Say whether something is a table that battles can be read from."""
    return isinstance(value, pl.DataFrame | pl.LazyFrame) or _is_pandas(value) or _is_arrow(value)


def as_polars(table: Any) -> pl.DataFrame:
    """Take a table of Polars or Arrow as it is, and one of pandas cell by cell.

    Raises
    ------
    InputError
        It is no table.
    DataError
        The cells of a column are of several kinds, or two columns have one name.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if _is_pandas(table):
        return _from_pandas(table)
    if _is_arrow(table):
        return pl.DataFrame(table)
    raise InputError(
        f"battles are a path or a table, and not a {type(table).__name__}",
        hint="give a Polars or pandas DataFrame, or the path of a file",
    )


def _is_pandas(value: object) -> bool:
    return hasattr(value, "columns") and hasattr(value, "notna") and hasattr(value, "iloc")


def _is_arrow(value: object) -> bool:
    return hasattr(value, "__arrow_c_stream__") and not isinstance(value, pl.Series)


def _from_pandas(table: Any) -> pl.DataFrame:
    """Take the cells of a pandas table; what it calls missing is missing.

    Raises
    ------
    DataError
        Two columns have one name, or the cells of one are of several kinds.
    """
    names = [str(name) for name in table.columns]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f'two columns are called "{name}"', where="the table")
    cells, columns = table.astype(object).where(table.notna(), None), {}
    for name, column in zip(names, cells, strict=True):
        try:
            columns[name] = pl.Series(name, [_plain(cell) for cell in cells[column]])
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f'the cells of column "{name}" are of several kinds: {error}',
                where="the table",
                hint="give all of a column's cells as texts, or all as lists",
            ) from error
    return pl.DataFrame(columns)


def _plain(cell: Any) -> Any:
    """Take the lists that pandas reads from Parquet, which are arrays there, as lists."""
    return cell.tolist() if hasattr(cell, "tolist") else cell
