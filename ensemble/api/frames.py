"""Tables in memory: those of Polars as they are, those of pandas and Arrow cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles import loading
from ensemble.battles.schema import TEST_ROLE
from ensemble.errors import DataError, InputError

if TYPE_CHECKING:
    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import Loader


def load_battles(
    battles: Any,
    *,
    source: str = "battles",
    role: str = "target",
    text_format: TextFormat = "json",
) -> pl.DataFrame:
    """Read battles of any known layout into the toolkit's own table.

    Parameters
    ----------
    battles
        The path of a CSV, Parquet or JSON Lines file, or a table of Polars, pandas or Arrow.
    source, role
        What the rows are recorded under; rows of role ``"test"`` need no labels.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn.

    Returns
    -------
    polars.DataFrame
        ``BATTLE_SCHEMA``, in the order given.

    Raises
    ------
    DataError
        It cannot be read, has wrong columns, unreadable rows, or an id more than once.
    """
    is_path = isinstance(battles, str | Path)
    return loading.load_battles(
        Path(battles) if is_path else Path("the table"),
        source=source,
        role=role,
        is_test=role == TEST_ROLE,
        text_format=text_format,
        loader=None if is_path else _loader_of(battles),
        loader_name="" if is_path else "table",
    ).battles


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


def _loader_of(table: Any) -> Loader:
    def load(path: Path, **options: Any) -> pl.DataFrame:  # noqa: ARG001 - the table is given
        return as_polars(table)

    return load


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
