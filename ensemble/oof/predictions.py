"""Tables of predictions: logits by id, NaN where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA
from ensemble.errors import ArtifactError
from ensemble.run_dir.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.oof.eval_set import EvalSet
    from ensemble.plugin.base import LogitArray

ANEW = "delete it, then run `ensemble run CONFIG`: it is made anew"
"""What helps where a file of a fit is not what a fit writes."""


def read_held_out(path: Path, fold: int, eval_set: EvalSet) -> LogitArray:
    """Read what a fold's file predicts of its rows; the result and errors are ``fold_logits``'."""
    logits = read_logits(path, eval_set.ids)
    odd = int((~np.isnan(logits).any(axis=1) & (eval_set.folds != fold)).sum())
    if odd:
        raise ArtifactError(
            f"it predicts {odd:,} rows that the plan holds out in another fold",
            where=str(path),
            hint="run `ensemble audit RUN`, and `ensemble fit CONFIG` after deleting it",
        )
    if np.isinf(logits).any():
        raise ArtifactError("logits are infinite", where=str(path), hint=ANEW)
    return logits


def read_logits(path: Path, ids: pl.Series, seed: int | None = None) -> LogitArray:
    """Read predictions and put them in the order of ``ids``.

    Parameters
    ----------
    path
        A table of predictions.
    ids
        The rows wanted.
    seed
        Of a table with several seeds, the one wanted.

    Returns
    -------
    LogitArray
        ``(len(ids), 3)`` float32; NaN for ids that are not in the file.
    """
    table = read_table(path, hint=None)
    try:
        chosen = table if seed is None else table.filter(pl.col("seed") == seed)
        stored = chosen.select(*PREDICTION_SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(
            f"predictions cannot be read: {error}", where=str(path), hint=ANEW
        ) from error
    if dict(stored.schema) != PREDICTION_SCHEMA:
        raise ArtifactError(
            "predictions are no table of ids and numbers", where=str(path), hint=ANEW
        )
    if stored["id"].is_duplicated().any():
        raise ArtifactError("a battle is predicted more than once", where=str(path), hint=ANEW)
    wanted = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    joined = wanted.join(stored, on="id", how="left", maintain_order="left")
    filled = joined.select(pl.col(LOGIT_COLUMNS).fill_null(float("nan")))
    return filled.to_numpy().astype(np.float32)


def count_missing(path: Path) -> int:
    """Count the rows of a table of predictions that have none.

    Parameters
    ----------
    path
        ``PREDICTION_SCHEMA``; such rows are NaN.
    """
    return int(read_table(path, [LOGIT_COLUMNS[0]])[LOGIT_COLUMNS[0]].is_nan().sum())


def prediction_frame(ids: pl.Series, logits: LogitArray) -> pl.DataFrame:
    """Put logits beside their ids: ``PREDICTION_SCHEMA``."""
    columns = {name: logits[:, i] for i, name in enumerate(LOGIT_COLUMNS)}
    return pl.DataFrame({"id": ids, **columns}, schema=PREDICTION_SCHEMA)
