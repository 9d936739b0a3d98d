"""Stored tables are of the types that were written, or refused with what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import errors
from ensemble.run_dir.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = {"id": pl.String(), "fold": pl.Int32()}


@pytest.mark.parametrize(
    ("column", "odd"),
    [
        ("fold", pl.lit(0.5)),
        ("fold", pl.lit("x")),
        ("fold", pl.lit([1])),
        ("id", pl.lit(b"r1")),
        ("id", pl.lit("r1", dtype=pl.Categorical)),
        ("id", pl.struct(pl.lit(1).alias("a"))),
    ],
)
def test_a_column_of_another_type_is_named(column: str, odd: pl.Expr, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pl.DataFrame({"id": ["r1"], "fold": [0], "more": [1.5]}, schema_overrides=_SCHEMA)
    table.write_parquet(path)
    assert read_table(path, _SCHEMA).equals(table.select("id", "fold"))
    table.with_columns(odd.alias(column)).write_parquet(path)
    with pytest.raises(errors.ArtifactError) as caught:
        read_table(path, _SCHEMA, hint="make it anew")
    told: Any = caught.value
    assert told.message.endswith(f"other types than were written: {column}")
    assert (told.where, told.hint) == (str(path), "make it anew")
    assert len(read_table(path, ["id", "fold"])) == 1, "where nobody says of which"
