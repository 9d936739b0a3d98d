"""Tables that were given in Python: kept in the run, so that it can be read without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.errors import ArtifactError, InputError
from ensemble.run_dir.layout import INPUTS
from ensemble.run_dir.tables import read_table, write_table

if TYPE_CHECKING:
    from pathlib import Path


def input_path(run: Path, name: str) -> Path:
    """Say where the table of a source is kept."""
    return run / INPUTS / f"{name}.parquet"


def store_input(run: Path, name: str, table: pl.DataFrame) -> None:
    """Keep a table, unless the same one is there; call it with the run's lock held.

    Raises
    ------
    InputError
        It holds what Parquet has no column for.
    """
    path = input_path(run, name)
    if _is_there(path, table):
        return  # a file that is written anew may have other bytes, and would be other content
    if odd := [column for column, dtype in table.schema.items() if dtype == pl.Object]:
        raise InputError(
            f'column "{odd[0]}" holds Python objects',
            where=f'the table of source "{name}"',
            hint="give texts, lists of texts or numbers, and leave other columns out",
        )
    write_table(path, table)


def _is_there(path: Path, table: pl.DataFrame) -> bool:
    try:
        stored = read_table(path)
    except ArtifactError:
        return False
    return stored.schema == table.schema and stored.equals(table)
