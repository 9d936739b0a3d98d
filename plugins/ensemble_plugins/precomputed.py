"""Predictions that were made elsewhere: in files of your own, or by a learner of another run.

Which rows made those of a file is not known here, so the audit calls a run with such a learner
unproven. Another run has recorded it, and this run's audit judges it by its own clusters.
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
from ensemble_plugins.found_predictions import suggestions
from ensemble_plugins.other_run import (
    STORED_SCHEMA,
    check_same_texts,
    is_refitted,
    learner_directory,
    read_other,
)
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
    from ensemble.plugin.provenance import Provenance
    from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion
    from ensemble_plugins.other_run import OtherLearner

_STORED = "predictions.parquet"
_HINT_FILES = (
    "a precomputed learner predicts only rows that its files hold: put new rows' predictions into "
    "a file, give it as `test =`, and run again"
)
_HINT_RUN = (
    "a precomputed learner predicts only rows that the other run has: add them to that run's test "
    "file and run both again, or score new rows with the other run itself"
)


class Precomputed(BaseLearner):
    """Look predictions up by battle id, and by nothing else.

    A row that has the id of a target battle gets that battle's prediction; a saved run refuses
    such rows where they are new. What comes from another run is given for the same texts alone.

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
    run
        Directory of another run, in place of files: its learner's out-of-fold and test logits are
        taken, and the rows that each of its models was trained on. Its folds may differ.
    learner
        Name of the learner in that run.
    """

    version = "2"
    trains = False

    def __init__(
        self,
        *,
        oof: Path | None = None,
        test: Path | None = None,
        kind: Kind = "logits",
        run: Path | None = None,
        learner: str | None = None,
    ) -> None:
        if kind not in KIND_COLUMNS:
            raise ValueError(f'unknown kind "{kind}": {nearest(kind, KIND_COLUMNS)}')
        if (oof is None) == (run is None):
            raise ValueError(
                "give either `oof`, a file of predictions, or `run`, another run's directory"
            )
        if (run is None) != (learner is None):
            raise ValueError("`run` and `learner` go together: name a learner of the other run")
        if run is not None and (test is not None or kind != "logits"):
            raise ValueError("`test` and `kind` are for files: `run` has the test logits too")
        self.oof = oof
        self.test = test
        self.kind = kind
        self.run = run
        self.learner = learner
        self._table: pl.DataFrame | None = None

    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:  # noqa: ARG003
        """Suggest a learner for each file of predictions of the target."""
        return suggestions(data, cls)

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
        """Name the prediction files, or the other run's learner: their content is in the key."""
        if self.run is not None and self.learner is not None:
            place = learner_directory(self.run, self.learner)
            return {"run": place} | ({"models": "refit"} if is_refitted(self.run) else {})
        return {"oof": self.oof, "test": self.test}

    def provenance(self) -> Provenance | None:
        """Give the rows that the other run's models were trained on; None for files."""
        other = self._other()
        return None if other is None else other.provenance

    def check_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse an OOF file whose ids are not exactly the target's.

        Raises
        ------
        DataError
            Ids are missing or foreign; some are named, all are counted.
        """
        if (other := self._other()) is not None:
            other.check_ids(other.oof, expected_ids, "target")
        elif self.oof is not None:
            check_same_ids(self._read(self.oof), expected_ids, self.oof)

    def check_test_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse a test file whose ids are not exactly the test set's, as ``check_ids``."""
        if (other := self._other()) is not None:
            other.check_ids(other.test, expected_ids, "test")
            return
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
            There are no predictions for some ids, or those of another run are of other texts.
        """
        table = self._read_all() if self._table is None else self._table
        found = battles.select("id").join(table, on="id", how="left", maintain_order="left")
        missing = found.filter(pl.col(LOGIT_COLUMNS[0]).is_null())["id"].to_list()
        if missing:
            raise LearnerError(
                f"there are no stored predictions for {some_ids(missing)}",
                where=self._places(),
                hint=_HINT_RUN if self.run is not None else _HINT_FILES,
            )
        if self.run is not None:
            check_same_texts(found, battles, self._places())
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
            schema = PREDICTION_SCHEMA if self.run is None else STORED_SCHEMA
            self._table = pl.read_parquet(directory / _STORED, schema=schema, glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(
                f"stored predictions cannot be read: {error}", where=str(directory / _STORED)
            ) from error
        return self

    def _places(self) -> str:
        paths = (self.oof, self.test, self.run)
        return " and ".join(str(path) for path in paths if path is not None)

    def _other(self) -> OtherLearner | None:
        if self.run is None or self.learner is None:
            return None
        return read_other(self.run, self.learner)

    def _read_all(self) -> pl.DataFrame:
        """Read target and test rows into one table of logits."""
        if (other := self._other()) is not None:
            return pl.concat([other.oof, other.test])
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
