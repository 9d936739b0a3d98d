"""Files of predictions that were made elsewhere: read, checked, turned into logits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from ensemble.battles.files.refused import check_file_kind
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

_SUM_TOLERANCE = 1e-3 + 1e-9
_SHOWN = 5
_FLOAT = r"^-?\d+\.0$"
_SHOWN_COLUMNS = 20


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
    columns = KIND_COLUMNS[kind]
    raw = _read_file(path, columns)
    table = raw.select(pl.col("id").cast(pl.String), *_as_numbers(raw, columns, path))
    _check_ids(table["id"], path)
    _check_finite(table, columns, path)
    if kind == "logits":
        _refuse_probabilities(table, columns, path)
    else:
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
        if given.str.contains(_FLOAT).all() and not expected.str.contains(_FLOAT).any():
            raise DataError(
                f'the ids of the predictions are floats: "{given[0]}"; {"; ".join(faults)}',
                where=str(path),
                hint="write them as the battles have them",
            )
        raise DataError(
            f"the ids of the predictions are not those of the run: {'; '.join(faults)}",
            where=str(path),
            hint="give exactly one row for each id, spelled as in the battles",
        )


def some_ids(ids: Sequence[str]) -> str:
    """Name the first few ids and count them all."""
    shown = ", ".join(repr(name) for name in ids[:_SHOWN])
    return f"{shown}{', …' if len(ids) > _SHOWN else ''} ({len(ids)})"


def _read_file(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read the columns that are needed, as they are spelled, and leave the rest."""
    check_file_kind(path)
    form = path.suffix.lower()
    if form not in (".csv", ".parquet"):
        raise DataError(
            f'predictions are read from .csv and .parquet, not "{path.suffix}"', where=str(path)
        )
    wanted = ["id", *columns]
    try:
        with path.open("rb") as file:
            # No type is guessed: an id keeps its zeros, and a late fraction is a number.
            read = partial(pl.read_csv, infer_schema=False) if form == ".csv" else pl.read_parquet
            raw = read(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        what = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"predictions cannot be read: {what}", where=str(path)) from error
    _check_columns(raw, columns, path)
    return raw.select(wanted)


def _check_columns(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    absent = [name for name in ("id", *columns) if name not in table.columns]
    if absent:
        shown = ", ".join(table.columns[:_SHOWN_COLUMNS])
        more = f" and {table.width - _SHOWN_COLUMNS:,} more" * (table.width > _SHOWN_COLUMNS)
        raise DataError(
            f"columns are missing: {', '.join(absent)}",
            where=str(path),
            hint=f'there are: {shown}{more}; `kind` says which are read: "logits" '
            f'{", ".join(LOGIT_COLUMNS)}, "probabilities" {", ".join(CLASSES)}',
        )


def _as_numbers(table: pl.DataFrame, columns: Sequence[str], path: Path) -> list[pl.Series]:
    return [_numbers(table[name], table["id"], path) for name in columns]


def _numbers(cells: pl.Series, ids: pl.Series, path: Path) -> pl.Series:
    if cells.dtype == pl.String:
        typed = cells.str.strip_chars()
        found = typed.cast(pl.Float64, strict=False)
        broken = found.is_null() & typed.is_not_null() & (typed != "")
        if broken.any():
            at = broken.arg_true()[0]
            raise DataError(
                f'column "{cells.name}" holds String, not numbers: "{cells[at]:.40}"',
                where=f"{path}, id {ids[at]}",
            )
        return found
    if not cells.dtype.is_numeric():
        raise DataError(f'column "{cells.name}" holds {cells.dtype}, not numbers', where=str(path))
    return cells.cast(pl.Float64)


def _refuse_probabilities(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse numbers that can hardly be logits: all within [0, 1], and every row sums to 1."""
    values = table.select(columns).to_numpy()
    sums = values.sum(axis=1)
    inside = len(values) and values.min() >= 0 and values.max() <= 1
    if inside and np.abs(sums - 1).max() <= _SUM_TOLERANCE:
        raise DataError(
            f"{', '.join(columns)} are probabilities: each row sums to 1",
            where=str(path),
            hint=f'name the columns {", ".join(CLASSES)} and say kind = "probabilities"',
        )


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
            hint="give a finite number in each column of each row",
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
            hint='normalize them, or say kind = "logits" and name the columns so',
        )
