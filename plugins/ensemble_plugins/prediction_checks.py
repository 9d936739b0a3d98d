"""What predictions from outside must be: ids, finite numbers, logits or distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from ensemble.errors import DataError
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.plugin.base import BoolArray

_SUM_TOLERANCE = 1e-3 + 1e-9
_PERCENT, _ROUNDED_PERCENT = 100.0, 1.5
"""What percentages sum to, and how far they may be from it where each is a whole number."""
_SHOWN = 5
_BLANK, _FEW = 0.05, 10
"""Rows of zeros are no predictions where they are more than this share, and than so many."""
_FLOAT = r"^-?\d+\.0$"


def some_ids(ids: Sequence[str]) -> str:
    """Name the first few ids and count them all."""
    shown = ", ".join(repr(name) for name in ids[:_SHOWN])
    return f"{shown}{', …' if len(ids) > _SHOWN else ''} ({len(ids)})"


def as_numbers(table: pl.DataFrame, columns: Sequence[str], path: Path) -> list[pl.Series]:
    """Read columns as float64; text may say numbers, and an empty cell is none.

    Raises
    ------
    DataError
        A column holds something else; the first such cell is named.
    """
    return [_numbers(table[name], table["id"], path) for name in columns]


def check_ids(ids: pl.Series, path: Path) -> None:
    """Refuse rows without an id, and ids that stand twice.

    Raises
    ------
    DataError
        There are some, or there is no row.
    """
    if not len(ids):
        raise DataError("the file holds no predictions", where=str(path))
    empty = ids.null_count() + int((ids == "").sum())
    if empty:
        raise DataError(f"{empty} rows have no id", where=str(path))
    twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        raise DataError(f"ids stand twice: {some_ids(twice)}", where=str(path))


def predicted_rows(table: pl.DataFrame, columns: Sequence[str], path: Path) -> pl.DataFrame:
    """Leave out rows that hold no number at all, as a whole array has them where no fold was run.

    Raises
    ------
    DataError
        No row is left.
    """
    number = [pl.col(name).is_not_nan().fill_null(value=False) for name in columns]
    kept = table.filter(pl.any_horizontal(number))
    if not len(kept):
        raise DataError("no row of the file has a prediction", where=str(path))
    return kept


def refuse_blanks(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse logits many of whose rows are three zeros: an array that was filled in part.

    Raises
    ------
    DataError
        They are, and others are not.
    """
    blank = table["id"].filter(table.select(pl.all_horizontal(pl.col(columns) == 0)).to_series())
    many = max(_BLANK * len(table), _FEW)
    if len(columns) == len(CLASSES) and many < len(blank) < len(table):
        raise DataError(
            f"all logits are 0 in some rows: {some_ids(blank.to_list())}",
            where=str(path),
            hint="leave out rows that were not predicted, or write NaN in them",
        )


def check_finite(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse rows that lack a finite number.

    Raises
    ------
    DataError
        There are some.
    """
    finite = pl.all_horizontal(pl.col(columns).is_finite().fill_null(value=False))
    broken = table.filter(~finite)["id"].to_list()
    if broken:
        raise DataError(
            f"predictions are empty, NaN or infinite: {some_ids(broken)}",
            where=str(path),
            hint="give a finite number in each column of a row, or in none where it was not "
            "predicted",
        )


def recognized_kind(
    table: pl.DataFrame, columns: Sequence[str], path: Path
) -> Literal["logits", "probabilities"]:
    """Tell logits from probabilities by their values.

    Raises
    ------
    DataError
        All values lie in [0, 1] and most rows do not sum to 1: they may be either.
    """
    whole = _distributions(table, columns)
    if whole.mean() > 0.5:
        return "probabilities"
    values = table.select(columns).to_numpy()
    if values.min() < 0 or values.max() > 1:
        return "logits"
    raise DataError(
        "all values are within [0, 1] and rows do not sum to 1: they may be logits, or "
        "probabilities that are not normalized",
        where=str(path),
        hint='say which: kind = "logits"; or normalize them',
    )


def refuse_probabilities(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse numbers that can hardly be logits: none below 0, and every row sums to 1 or 100.

    Raises
    ------
    DataError
        They are such.
    """
    named = ", ".join(columns)
    if _distributions(table, columns).all():
        raise DataError(
            f"{named} are probabilities: each row sums to 1",
            where=str(path),
            hint='say kind = "probabilities"',
        )
    if _distributions(table, columns, _PERCENT, _ROUNDED_PERCENT).all():
        raise DataError(
            f"{named} are percentages: each row sums to 100",
            where=str(path),
            hint='divide them by 100, and say kind = "probabilities"',
        )


def check_distributions(table: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse rows that are no distribution.

    Raises
    ------
    DataError
        There are some.
    """
    broken = table["id"].filter(pl.Series(~_distributions(table, columns))).to_list()
    if broken:
        raise DataError(
            f"probabilities are outside [0, 1] or do not sum to 1: {some_ids(broken)}",
            where=str(path),
            hint='normalize them, or say kind = "logits" if that is what they are',
        )


def check_target_ids(table: pl.DataFrame, expected_ids: Sequence[str], place: str) -> None:
    """Refuse predictions of rows that are no target rows; target rows may be missing.

    Raises
    ------
    DataError
        Ids are foreign, or none is a target row's.
    """
    _refuse_ids(table["id"], expected_ids, place, all_of_them=False)


def check_same_ids(table: pl.DataFrame, expected_ids: Sequence[str], place: str) -> None:
    """Refuse predictions whose ids are not exactly the expected ones.

    Raises
    ------
    DataError
        Ids are missing or foreign; some are named, all are counted.
    """
    _refuse_ids(table["id"], expected_ids, place, all_of_them=True)


def _distributions(
    table: pl.DataFrame,
    columns: Sequence[str],
    total: float = 1.0,
    tolerance: float = _SUM_TOLERANCE,
) -> BoolArray:
    values = table.select(columns).to_numpy()
    inside = ((values >= 0) & (values <= total)).all(axis=1)
    whole: BoolArray = inside & (np.abs(values.sum(axis=1) - total) <= tolerance)
    return whole


def _numbers(cells: pl.Series, ids: pl.Series, path: Path) -> pl.Series:
    if cells.dtype == pl.Null:
        return cells.cast(pl.Float64)
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


def _refuse_ids(
    given: pl.Series, expected_ids: Sequence[str], place: str, *, all_of_them: bool
) -> None:
    expected = pl.Series("id", expected_ids, dtype=pl.String)
    missing = expected.filter(~expected.is_in(given.implode())).to_list()
    foreign = given.filter(~given.is_in(expected.implode())).to_list()
    if not all_of_them and not foreign and len(missing) < len(expected):
        missing = []
    faults = [
        f"{what} {some_ids(ids)}"
        for what, ids in (("missing", missing), ("foreign", foreign))
        if ids
    ]
    if not faults:
        return
    if len(given) and given.str.contains(_FLOAT).all() and not expected.str.contains(_FLOAT).any():
        raise DataError(
            f'the ids of the predictions are floats: "{given[0]}"; {"; ".join(faults)}',
            where=place,
            hint="write them as the battles have them",
        )
    raise DataError(
        f"the ids of the predictions are not those of the run: {'; '.join(faults)}",
        where=place,
        hint="give one row for each id, spelled as in the battles"
        + ("" if all_of_them else "; target rows may be missing, and other rows must not be there"),
    )
