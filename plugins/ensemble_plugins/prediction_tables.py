"""Tables of predictions to columns: any kind of table that battles can come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.files.raw import refuse_bad_rows
from ensemble.battles.files.read import read_chunks
from ensemble.battles.files.suffixes import suffixes_of, table_suffixes
from ensemble.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from ensemble.battles.files.raw import BadRow

_SHOWN_COLUMNS = 20


def columns_of(path: Path) -> tuple[str, ...]:
    """Name the columns of a table.

    Raises
    ------
    DataError
        It cannot be read.
    """
    if suffixes_of(path) is None:
        raise DataError(
            f"predictions are read from {', '.join(table_suffixes())}, .npy and .npz, not "
            f'"{path.suffix}"',
            where=str(path),
        )
    names = {name: None for chunk in read_chunks(path, lambda _: ()) for name in chunk.present}
    return tuple(names)


def read_columns(path: Path, names: Mapping[str, str], hint: str = "") -> pl.DataFrame:
    """Read some columns as they are spelled: no type is guessed, so that an id keeps its zeros.

    Parameters
    ----------
    path
        CSV, Parquet, JSON Lines or another kind of table, packed or not.
    names
        The file's column by the name that it gets here.
    hint
        Follows the list of columns where some are missing.

    Raises
    ------
    DataError
        The file cannot be read, or a column is missing.
    """
    wanted = set(names.values())
    cells: dict[str, list[Any]] = {theirs: [] for theirs in wanted}
    present: dict[str, None] = {}
    bad: list[BadRow] = []
    for chunk in read_chunks(path, _chooser(wanted)):
        present |= dict.fromkeys(chunk.present)
        bad += chunk.bad_rows
        rows = len(chunk.lines)
        for theirs, gathered in cells.items():
            gathered += chunk.columns.get(theirs, [None] * rows)
    if bad:
        rows = len(bad) + max(map(len, cells.values()), default=0)
        raise refuse_bad_rows(bad, rows, where=str(path), hint="fix or remove these rows")
    absent = [theirs for theirs in names.values() if theirs not in present]
    if absent:
        raise missing_columns(absent, list(present), path, hint)
    return pl.DataFrame({ours: _series(ours, cells[theirs]) for ours, theirs in names.items()})


def missing_columns(
    absent: Sequence[str], present: Sequence[str], path: Path, hint: str = ""
) -> DataError:
    """Build the error that names missing columns, and what is there in their place."""
    shown = ", ".join(present[:_SHOWN_COLUMNS])
    more = f" and {len(present) - _SHOWN_COLUMNS:,} more" * (len(present) > _SHOWN_COLUMNS)
    return DataError(
        f"columns are missing: {', '.join(absent)}",
        where=str(path),
        hint=f"there are: {shown}{more}{'; ' * bool(hint)}{hint}",
    )


def _chooser(wanted: Collection[str]) -> Callable[[Mapping[str, Any]], Collection[str]]:
    return lambda present: [name for name in present if name in wanted]


def _series(name: str, cells: list[Any]) -> pl.Series:
    try:
        return pl.Series(name, cells, strict=True)
    except (TypeError, pl.exceptions.PolarsError):  # kinds of values are mixed, as JSON may have it
        texts = [None if cell is None else str(cell) for cell in cells]
        return pl.Series(name, texts, dtype=pl.String)
