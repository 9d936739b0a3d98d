"""Where the label of each training row is from: ``labels.parquet`` of a fit.

A label is ``hard`` where it is the row's own, ``soft`` where teachers spoke of the row beside it,
and ``pseudo`` where it is what learners of the run predict of a row without one. (A label of a file
may be a distribution; it is the row's own all the same.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.held_out import HeldOut
    from ensemble.oof.rows import TrainingRows
    from ensemble.plugin.base import LogitArray

HARD, SOFT, PSEUDO = "hard", "soft", "pseudo"
ORIGIN_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "stage": pl.String(),
    "kind": pl.String(),
    "by": pl.List(pl.String),
    "fit": pl.String(),
}
"""``by`` names the teachers or labelers, and ``fit`` which fit of theirs spoke of the row."""


def label_origins(
    rows: TrainingRows,
    teachers: Mapping[str, LogitArray],
    folds: pl.Series,
    held_out: HeldOut,
    labeled_by: Mapping[str, Sequence[str]],
) -> pl.DataFrame:
    """Say of each row of ``fit`` what its label was.

    Parameters
    ----------
    rows
        The ``n`` rows.
    teachers
        Logits ``(n, 3)`` of each; NaN for rows that it says nothing of.
    folds
        ``(n,)`` the fold of each row, or null.
    held_out
        What the fit holds out.
    labeled_by
        Names of the learners that label the rows of a source, by source.

    Returns
    -------
    polars.DataFrame
        ``ORIGIN_SCHEMA``, sorted by id.
    """
    table = hard_origins(rows.battles["id"], "train")
    if teachers:
        spoken = np.isfinite([logits[:, 0] for logits in teachers.values()]).any(axis=0)
        names = {fold: held_out.joined(fold).name for fold in folds.drop_nulls().unique()}
        table = _put(
            table,
            pl.Series(spoken),
            SOFT,
            [*teachers],
            folds.replace_strict(names, default=None, return_dtype=pl.String),
        )
    for source, named in labeled_by.items():
        if rows.source is not None:
            fit = pl.Series([held_out.name] * len(table), dtype=pl.String)
            table = _put(table, rows.source == source, PSEUDO, named, fit)
    return table.sort("id")


def hard_origins(ids: pl.Series, stage: str) -> pl.DataFrame:
    """Say that rows have labels of their own: ``ORIGIN_SCHEMA``, in the order of the ids."""
    return pl.DataFrame({"id": ids}).select(
        "id",
        pl.lit(stage).alias("stage"),
        pl.lit(HARD).alias("kind"),
        pl.lit([], dtype=pl.List(pl.String)).alias("by"),
        pl.lit(None, dtype=pl.String).alias("fit"),
    )


def count_kinds(origins: pl.DataFrame) -> dict[str, int]:
    """Count the rows of each kind."""
    return {kind: int((origins["kind"] == kind).sum()) for kind in (HARD, SOFT, PSEUDO)}


def _put(
    table: pl.DataFrame, rows: pl.Series, kind: str, by: Sequence[str], fit: pl.Series
) -> pl.DataFrame:
    named = pl.lit(list(by), dtype=pl.List(pl.String))
    return table.with_columns(
        pl.when(rows).then(pl.lit(kind)).otherwise("kind").alias("kind"),
        pl.when(rows).then(named).otherwise("by").alias("by"),
        pl.when(rows).then(fit).otherwise("fit").alias("fit"),
    )
