"""Folds that a file of predictions names, held against those of the run."""

from __future__ import annotations

import polars as pl

from ensemble.errors import DataError
from ensemble_plugins.prediction_checks import some_ids


def check_folds(named: pl.DataFrame, plan: pl.DataFrame, place: str) -> str | None:
    """Say whether the folds of files part the rows as a plan does.

    Parameters
    ----------
    named
        ``part``, ``id``, ``fold``, as ``Predictions.folds``.
    plan
        ``id``, ``cluster``, ``fold`` of the target rows.
    place
        Names the files in errors.

    Returns
    -------
    str or None
        ``"as the run"`` or ``"other"``; None where no row has a fold.

    Raises
    ------
    DataError
        Rows that the plan holds out together for their cluster are in several folds of the files:
        the model of one fold was trained on rows of the other. Or files of one fold each share
        rows: only one of these models can have been fitted without them.
    """
    _refuse_shared(named, place)
    both = named.join(plan.rename({"fold": "planned"}), on="id").drop_nulls("planned")
    if not len(both):
        return None
    apart = pl.col("fold").n_unique().over("part", "cluster", "planned") > 1
    ids = both.filter(apart)["id"].unique(maintain_order=True).to_list()
    if ids:
        raise DataError(
            "rows were predicted by models of folds that hold rows of their cluster on the "
            f"training side, as the column `fold` says: {some_ids(ids)}",
            where=place,
            hint="leave these rows out (they are then missing, and counted), or predict them by "
            "folds that keep clusters together, such as the run's folds.parquet",
        )
    pairs = both.select("part", "fold", "planned").unique()
    one_to_one = all(pairs.select("part", name).is_unique().all() for name in ("fold", "planned"))
    return "as the run" if one_to_one else "other"


def _refuse_shared(named: pl.DataFrame, place: str) -> None:
    """Refuse files of one fold each that have predicted the same rows, in different folds."""
    if (named.group_by("part").agg(pl.col("fold").n_unique())["fold"] > 1).any():
        return  # seeds with folds of their own
    shared = named.filter(pl.col("fold").n_unique().over("id") > 1)
    if len(shared):
        ids = shared["id"].unique(maintain_order=True).to_list()
        raise DataError(
            "rows stand in files of several folds, as the column `fold` says, and at most one of "
            f"their models has not seen them: {some_ids(ids)}",
            where=place,
            hint="keep of each file the rows that its fold holds out",
        )
