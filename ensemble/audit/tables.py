"""Tables of a run, as the audit reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path


def read_columns(path: Path, *columns: str) -> pl.DataFrame:
    """Read columns of a stored table.

    Raises
    ------
    ArtifactError
        They cannot be read.
    """
    try:
        return pl.read_parquet(path, columns=list(columns), glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(path)) from error
