"""Predictions that were made elsewhere: in files of your own, or by a learner of another run.

Which rows made those of a file is not known here, so the audit calls a run with such a learner
unproven. Another run has recorded it, and this run's audit judges it by its own clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from ensemble.battles.schema import LOGIT_COLUMNS, PREDICTION_SCHEMA
from ensemble.errors import ArtifactError, LearnerError, nearest
from ensemble.plugin.base import BaseLearner
from ensemble.storage.atomic import atomic_path
from ensemble_plugins.brought_files import BroughtFiles
from ensemble_plugins.found_predictions import suggestions
from ensemble_plugins.other_run import (
    STORED_SCHEMA,
    check_same_texts,
    learner_directory,
    models_of,
    read_other,
)
from ensemble_plugins.prediction_checks import some_ids
from ensemble_plugins.prediction_files import KIND_COLUMNS, FileForm, Kind, check_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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

    Files may be partial, as of one fold of several: target rows that they lack are NaN, and are
    counted; no candidate is scored on them. Rows without any number count as lacking. Test rows
    must all be there. In a task without ties, files may have the columns of A and B alone.

    Parameters
    ----------
    oof
        Predictions of target rows, each by a model that saw neither the row nor its cluster: a
        file, a pattern (``"oof-fold*.csv"``) or a list, such as one a fold or one a seed. A table
        of any kind that battles can come in, with a column ``id``; or ``.npy`` or ``.npz``, an
        array (rows, 3) in the order A, B, tie, or (rows, 2) without ties. A row that is in several
        files gets their mean. A column ``fold`` is held against the run's folds.
    test
        The same for the test rows; None where there are none.
    kind
        ``"logits"``: columns ``logit_a``, ``logit_b``, ``logit_tie``. ``"probabilities"``: columns
        ``winner_model_a``, ``winner_model_b``, ``winner_tie``, whose rows sum to 1 within 0.001;
        their logits are ``log(max(p, LEAST_PROBABILITY))``. None: the names of the columns tell,
        and of an array its values. Other columns are ignored.
    columns
        Our name to the file's where it has another: ``{ id = "key", winner_model_a = "p_a" }``.
    ids
        For arrays without ids: a file with the id of each row of ``oof``, in their order; an array,
        a text file of one id a line, or a table with a column ``id``. A list has one for each file.
    test_ids
        The same for ``test``.
    average
        What is averaged of rows that are in several files: ``"logits"``, as folds and seeds of
        fitted learners are, or ``"probabilities"``.
    run
        Directory of another run, in place of files: its learner's out-of-fold and test logits are
        taken, and the rows that each of its models was trained on. Its folds may differ.
    learner
        Name of the learner in that run.
    """

    version = "3"
    trains = False

    def __init__(
        self,
        *,
        oof: Path | list[Path] | None = None,
        test: Path | list[Path] | None = None,
        kind: Kind | None = None,
        columns: dict[str, str] | None = None,
        ids: Path | list[Path] | None = None,
        test_ids: Path | list[Path] | None = None,
        average: Kind = "logits",
        run: Path | None = None,
        learner: str | None = None,
    ) -> None:
        for name in filter(None, (kind, average)):
            if name not in KIND_COLUMNS:
                raise ValueError(f'unknown kind "{name}": {nearest(name, KIND_COLUMNS)}')
        if (oof is None) == (run is None):
            raise ValueError(
                "give either `oof`, a file of predictions, or `run`, another run's directory"
            )
        if (run is None) != (learner is None):
            raise ValueError("`run` and `learner` go together: name a learner of the other run")
        if run is not None and (test or kind or columns or ids or test_ids or average != "logits"):
            raise ValueError(
                "`test`, `kind`, `columns`, `ids`, `test_ids` and `average` are for files: `run` "
                "has the test logits too"
            )
        check_columns(columns or {})
        if test_ids is not None and test is None:
            raise ValueError("`test_ids` is for the file of `test`, and none is given")
        self.oof = oof
        self.test = test
        self.kind = kind
        self.columns = columns
        self.ids = ids
        self.test_ids = test_ids
        self.average = average
        self.run = run
        self.learner = learner
        self._table: pl.DataFrame | None = None
        self._targets: list[str] = []

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
        context: FitContext,
    ) -> Self:
        """Read and check the files; the battles are not learned from.

        Raises
        ------
        DataError
            A file is missing or wrong, an id is in both, or a file says nothing of ties in a task
            that has them.
        """
        if self.run is None:
            self._files().check_classes(ties=context.ties)
        self._table = self._with_missing(self._read_all())
        return self

    def dependencies(self) -> Mapping[str, Any]:
        """Name the prediction files, or the other run's learner: their content is in the key."""
        if self.run is not None and self.learner is not None:
            place = learner_directory(self.run, self.learner)
            models = models_of(self.run, self.learner)
            return {"run": place} | ({} if models == "folds" else {"models": models})
        return self._files().dependencies()

    def provenance(self) -> Provenance | None:
        """Give the rows that the other run's models were trained on; None for files."""
        other = self._other()
        return None if other is None else other.provenance

    def check_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse OOF files with ids that are not the target's; files may lack some of the target.

        What another run lacks shows when it is asked for it: it need not have rows that no fold
        scores.

        Raises
        ------
        DataError
            Ids are foreign, or none is the target's. Some are named, all are counted.
        """
        if self.run is None:
            self._files().check_ids(expected_ids)
            self._targets = list(expected_ids)

    def check_test_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse a test file whose ids are not exactly the test set's, as ``check_ids``."""
        if (other := self._other()) is not None:
            other.check_test_ids(expected_ids)
        else:
            self._files().check_test_ids(expected_ids)

    def check_folds(self, plan: pl.DataFrame) -> str | None:
        """Hold the folds that files name against the run's.

        Parameters
        ----------
        plan
            ``id``, ``cluster`` and ``fold`` of the target rows.

        Returns
        -------
        str or None
            Whether they part the rows as the run's folds do; None where no file names folds.

        Raises
        ------
        DataError
            Rows of a cluster that the run holds out together are in several folds of the files: a
            model has predicted rows whose like it was trained on.
        """
        return None if self.run is not None else self._files().check_folds(plan)

    def describe(self) -> dict[str, Any]:
        """Count files, and rows by the number of files that have them."""
        return {} if self.run is not None else self._files().describe()

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give the stored logits ``(n, 3)`` of the battles' ids, in their order.

        Target rows that the files lack are NaN.

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
        return self._files().places if self.run is None else str(self.run)

    def _other(self) -> OtherLearner | None:
        if self.run is None or self.learner is None:
            return None
        return read_other(self.run, self.learner)

    def _files(self) -> BroughtFiles:
        form = FileForm(self.kind, self.columns or {}, self.average)
        return BroughtFiles(self.oof, self.test, self.ids, self.test_ids, form)

    def _read_all(self) -> pl.DataFrame:
        """Read target and test rows into one table of logits."""
        if (other := self._other()) is not None:
            return pl.concat([other.oof, other.test])
        return self._files().read_all()

    def _with_missing(self, table: pl.DataFrame) -> pl.DataFrame:
        """Add the target rows that are not predicted, as NaN: a row that is unknown is neither."""
        known = table["id"].implode()
        ids = pl.Series("id", self._targets, dtype=pl.String)
        missing = ids.filter(~ids.is_in(known)).to_frame()
        nan = missing.with_columns(pl.lit(float("nan")).alias(name) for name in LOGIT_COLUMNS)
        return pl.concat([table, nan.cast(pl.Schema(PREDICTION_SCHEMA))]) if len(missing) else table
