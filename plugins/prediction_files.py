"""Files of predictions that were made elsewhere: read, checked, turned into logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import polars as pl

from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA
from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["logits", "probabilities"]

KIND_COLUMNS: dict[Kind, tuple[str, ...]] = {"logits": LOGIT_COLUMNS, "probabilities": CLASSES}
"""The columns that a kind of file has, beside ``id``."""
LEAST_PROBABILITY = 1e-6
"""Probabilities below it count as this much when they are turned into logits."""

_SUM_TOLERANCE = 1e-3
_SHOWN = 5


def read_predictions(path: Path, kind: Kind) -> pl.DataFrame:
    """Read a CSV or Parquet file of predictions as ``PREDICTION_SCHEMA``.

    Parameters
    ----------
    path
        The file; the end of its name says which kind of file it is.
    kind
        What its columns hold; probabilities become ``log(max(p, LEAST_PROBABILITY))``.

    Raises
    ------
    DataError
        The file cannot be read, a column is missing or not numeric, an id is missing or there
        twice, a value is not finite, or probabilities are no distribution.
    """
    raw = _read_file(path)
    columns = KIND_COLUMNS[kind]
    _check_columns(raw, columns, path)
    table = raw.select(pl.col("id").cast(pl.String), *_as_numbers(raw, columns, path))
    _check_ids(table["id"], path)
    _check_finite(table, columns, path)
    if kind == "probabilities":
        _check_distributions(table, columns, path)
        table = table.with_columns(pl.col(columns).clip(lower_bound=LEAST_PROBABILITY).log())
    logits = table.rename(dict(zip(columns, LOGIT_COLUMNS, strict=True)))
    return logits.cast(pl.Schema(PREDICTION_SCHEMA))


def check_same_ids(table: pl.DataFrame, expected_ids: Sequence[str], path: Path) -> None:
    """Refuse predictions whose ids are not exactly the expected ones.

    Raises
    ------
    DataError
        Ids are missing or foreign; some are named, all are counted.
    """
    given, expected = table["id"], pl.Series("id", expected_ids, dtype=pl.String)
    missing = expected.filter(~expected.is_in(given.implode())).to_list()
    foreign = given.filter(~given.is_in(expected.implode())).to_list()
    faults = [
        f"{what} {some_ids(ids)}"
        for what, ids in (("missing", missing), ("foreign", foreign))
        if ids
    ]
    if faults:
        raise DataError(
            f"the ids of the predictions are not those of the run: {'; '.join(faults)}",
            where=str(path),
            mend="give exactly one row for each id, spelled as in the battles",
        )


def some_ids(ids: Sequence[str]) -> str:
    """Name the first few ids and count them all."""
    shown = ", ".join(repr(name) for name in ids[:_SHOWN])
    return f"{shown}{', …' if len(ids) > _SHOWN else ''} ({len(ids)})"


def _read_file(path: Path) -> pl.DataFrame:
    form = path.suffix.lower()
    if form not in (".csv", ".parquet"):
        raise DataError(
            f'predictions are read from .csv and .parquet, not "{path.suffix}"', where=str(path)
        )
    try:
        # Ids stay as they are spelled: no leading zero is lost.
        spelled = {"id": pl.String}
        return (
            pl.read_csv(path, schema_overrides=spelled) if form == ".csv" else pl.read_parquet(path)
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"predictions cannot be read: {error}", where=str(path)) from error


def _check_columns(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    absent = [name for name in ("id", *columns) if name not in table.columns]
    if absent:
        raise DataError(
            f"columns are missing: {', '.join(absent)}",
            where=str(path),
            mend=f'there are: {", ".join(table.columns)}; `kind` says which are read: "logits" '
            f'{", ".join(LOGIT_COLUMNS)}, "probabilities" {", ".join(CLASSES)}',
        )


def _as_numbers(table: pl.DataFrame, columns: Sequence[str], path: Path) -> list[pl.Series]:
    for name in columns:
        if not table.schema[name].is_numeric():
            raise DataError(
                f'column "{name}" holds {table.schema[name]}, not numbers', where=str(path)
            )
    return [table[name].cast(pl.Float64) for name in columns]


def _check_ids(ids: pl.Series, path: Path) -> None:
    if ids.null_count():
        raise DataError(f"{ids.null_count()} rows have no id", where=str(path))
    twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        raise DataError(f"ids stand twice: {some_ids(twice)}", where=str(path))


def _check_finite(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    finite = pl.all_horizontal(pl.col(columns).is_finite().fill_null(value=False))
    broken = table.filter(~finite)["id"].to_list()
    if broken:
        raise DataError(
            f"predictions are empty, NaN or infinite: {some_ids(broken)}",
            where=str(path),
            mend="give a finite number in each column of each row",
        )


def _check_distributions(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    p = pl.col(columns)
    inside = pl.all_horizontal((p >= 0) & (p <= 1))
    whole = (pl.sum_horizontal(columns) - 1).abs() <= _SUM_TOLERANCE
    broken = table.filter(~(inside & whole))["id"].to_list()
    if broken:
        raise DataError(
            f"probabilities are outside [0, 1] or do not sum to 1: {some_ids(broken)}",
            where=str(path),
            mend='normalize them, or say kind = "logits" and name the columns so',
        )
