"""Predictions that were made elsewhere: bring your own out-of-fold logits or probabilities.

Which rows made them is not known here, so the audit calls a run with such a learner unproven.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA
from ensemble.errors import ArtifactError, DataError, LearnerError, nearest
from ensemble.plugin.base import BaseLearner
from ensemble.storage.atomic import atomic_path
from ensemble_plugins.prediction_files import (
    KIND_COLUMNS,
    Kind,
    check_same_ids,
    read_predictions,
    some_ids,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray

_STORED = "predictions.parquet"


class Precomputed(BaseLearner):
    """Look predictions up by battle id, and by nothing else.

    A row that has the id of a target battle gets that battle's prediction, whatever it says; a
    saved run refuses such rows where they are new.

    Parameters
    ----------
    oof
        CSV or Parquet file with a column ``id`` and a row for each target battle, each predicted
        by a model that saw neither the row nor its cluster.
    test
        The same for the test rows; None where there are none.
    kind
        ``"logits"``: columns ``logit_a``, ``logit_b``, ``logit_tie``. ``"probabilities"``: columns
        ``winner_model_a``, ``winner_model_b``, ``winner_tie``, whose rows sum to 1 within 0.001;
        their logits are ``log(max(p, LEAST_PROBABILITY))``. Other columns are ignored.
    """

    version = "1"
    trains = False

    def __init__(self, *, oof: Path, test: Path | None = None, kind: Kind = "logits") -> None:
        if kind not in KIND_COLUMNS:
            raise ValueError(f'unknown kind "{kind}": {nearest(kind, KIND_COLUMNS)}')
        self.oof = oof
        self.test = test
        self.kind = kind
        self._table: pl.DataFrame | None = None

    def fit(
        self,
        battles: pl.DataFrame,  # noqa: ARG002 - nothing is learned
        labels: FloatArray,  # noqa: ARG002
        *,
        sample_weight: FloatArray | None = None,  # noqa: ARG002
        groups: IntArray | None = None,  # noqa: ARG002
        context: FitContext,  # noqa: ARG002
    ) -> Self:
        """Read and check the files; the battles are not learned from.

        Raises
        ------
        DataError
            A file is missing or wrong, or an id is in both.
        """
        self._table = self._read_all()
        return self

    def dependencies(self) -> Mapping[str, Any]:
        """Name the prediction files: their content is part of the key."""
        return {"oof": self.oof, "test": self.test}

    def check_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse an OOF file whose ids are not exactly the target's.

        Raises
        ------
        DataError
            Ids are missing or foreign; some are named, all are counted.
        """
        check_same_ids(self._read(self.oof), expected_ids, self.oof)

    def check_test_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse a test file whose ids are not exactly the test set's, as ``check_ids``."""
        if self.test is None:
            raise DataError(
                f"{len(expected_ids)} test rows have no predictions: no test file is given",
                where='parameter "test" of the precomputed learner',
                hint="give `test =` a file with the predictions of the test rows",
            )
        check_same_ids(self._read(self.test), expected_ids, self.test)

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give the stored logits ``(n, 3)`` of the battles' ids, in their order.

        Raises
        ------
        LearnerError
            There are no predictions for some ids.
        """
        table = self._read_all() if self._table is None else self._table
        found = battles.select("id").join(table, on="id", how="left", maintain_order="left")
        missing = found.filter(pl.col(LOGIT_COLUMNS[0]).is_null())["id"].to_list()
        if missing:
            raise LearnerError(
                f"there are no stored predictions for {some_ids(missing)}",
                where=self._places(),
                hint="a precomputed learner predicts only rows that its files hold: put new rows' "
                "predictions into a file, give it as `test =`, and run again",
            )
        return found.select(LOGIT_COLUMNS).to_numpy().astype(np.float32)

    def save(self, directory: Path) -> None:
        """Copy the predictions of both files, as logits, into one Parquet file."""
        table = self._read_all() if self._table is None else self._table
        with atomic_path(directory / _STORED) as path:
            table.write_parquet(path)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote; the original files are not needed again.

        Raises
        ------
        ArtifactError
            The stored predictions cannot be read.
        """
        try:
            self._table = pl.read_parquet(directory / _STORED, schema=PREDICTION_SCHEMA, glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(
                f"stored predictions cannot be read: {error}", where=str(directory / _STORED)
            ) from error
        return self

    def _places(self) -> str:
        return " and ".join(str(path) for path in (self.oof, self.test) if path is not None)

    def _read_all(self) -> pl.DataFrame:
        """Read both files into one table of logits."""
        tables = [self._read(path) for path in (self.oof, self.test) if path is not None]
        table = pl.concat(tables)
        if (twice := table.filter(pl.col("id").is_duplicated())["id"]).len():
            raise DataError(
                f"ids stand in both files: {some_ids(twice.unique(maintain_order=True).to_list())}",
                where=self._places(),
                hint="a row is either a target row or a test row: remove it from one file",
            )
        return table

    def _read(self, path: Path) -> pl.DataFrame:
        return read_predictions(Path(path), self.kind)
