"""The Parquet tables of a run: read and written here, so that each reader gets the same errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ensemble.errors import ArtifactError
from ensemble.run_dir.record import HINT
from ensemble.storage.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What Polars raises for a table that is damaged."""


def read_table(
    path: Path,
    columns: Sequence[str] | Mapping[str, pl.DataType] | None = None,
    *,
    hint: str | None = HINT,
) -> pl.DataFrame:
    """Read a stored table.

    Parameters
    ----------
    path
        The file.
    columns
        Those wanted, in this order, also with the types that they have to be of; None gives all.
    hint
        What makes it anew.

    Raises
    ------
    ArtifactError
        It is missing or damaged, or lacks a column, or has one of another type.
    """
    names = list(columns) if columns else None
    try:
        table = pl.read_parquet(path, columns=names, glob=False)
        table = table.select(names) if names else table
    except UNREADABLE as error:
        raise ArtifactError(
            f"a stored table cannot be read: {error}", where=str(path), hint=hint
        ) from error
    wanted = columns if isinstance(columns, Mapping) else {}
    if odd := [name for name, kind in wanted.items() if table.schema[name] != kind]:
        raise ArtifactError(
            f"a stored table has columns of other types than were written: {', '.join(odd)}",
            where=str(path),
            hint=hint,
        )
    return table


def read_rows(path: Path, ids: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Read columns of a few rows of a stored table, by ``id``; errors as ``read_table``."""
    try:
        table = pl.scan_parquet(path, glob=False).filter(pl.col("id").is_in(list(ids)))
        return table.select(columns).collect()
    except UNREADABLE as error:
        raise ArtifactError(
            f"a stored table cannot be read: {error}", where=str(path), hint=HINT
        ) from error


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table atomically."""
    with atomic_path(path) as temporary:
        table.write_parquet(temporary)
