"""What fitted learners of a run say of rows that others learn from: logits, or soft labels.

Teachers speak of labeled rows, each by a fit that has seen neither the row nor what the pupil holds
out: what is stored of their OOF logits. Labelers speak of rows without a label, by the fit that
holds out the same; what they say is kept with the checkpoint: a large model takes hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.special import softmax

from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.errors import ArtifactError
from ensemble.evaluation.ties import improbable_tie, leave_out_tie
from ensemble.oof.calls import predict_validated
from ensemble.oof.dependencies import labelers
from ensemble.oof.origins import is_complete
from ensemble.oof.predictions import prediction_frame, read_logits
from ensemble.oof.teaching import teaching_fits
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.run_dir.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.store import FoldStore
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import LogitArray


@dataclass(frozen=True)
class SoftLabels:
    """Asks other learners on behalf of one fit of a learner.

    Parameters
    ----------
    workspace
        The run, with the learner's own uses of its sources.
    spec
        The learner that is to be fitted.
    held_out
        What the learner's fit holds out, and those that are asked as well.
    kept
        Directory where what was said is kept.
    """

    workspace: Workspace
    spec: LearnerSpec
    held_out: HeldOut
    kept: Path

    def teach(self, battles: pl.DataFrame) -> dict[str, LogitArray]:
        """Give the OOF logits of each of the learner's ``teachers`` for its rows.

        Of each row by a fit that has seen neither it nor what the learner's fit holds out; NaN for
        rows of which no such fit speaks.

        In a task without ties they give nothing to a tie, whatever the teacher said of it.

        Parameters
        ----------
        battles
            ``LEARNER_COLUMNS`` of the ``n`` rows of ``fit``.
        """
        ids = battles["id"]
        return {teacher.name: self._said(teacher, ids) for teacher in self.spec.teachers()}

    def _said(self, teacher: LearnerSpec, ids: pl.Series) -> LogitArray:
        folds, store = self.folds_of(ids), self.workspace.store
        logits = np.full((len(ids), 3), np.nan, dtype=np.float32)
        for fold, fit in teaching_fits(self.held_out, self.workspace.shape).items():
            rows = (folds == fold).fill_null(value=False)
            logits[rows.to_numpy()] = store.predicted(teacher.name, fit, ids.filter(rows))
        return improbable_tie(logits, ties=self.workspace.ties)

    def folds_of(self, ids: pl.Series) -> pl.Series:
        """Give the fold of each row, ``(n,)``; null for rows that are in none."""
        plan = self.workspace.plan.frame.select("id", "fold")
        return pl.DataFrame({"id": ids}).join(plan, on="id", how="left", maintain_order="left")[
            "fold"
        ]

    def label(self) -> Workspace:
        """Give a workspace in which the fold's rows of role ``pseudo`` have labels.

        They are the mean probabilities of the learners that the source names, over A and B alone
        where the task has no ties. Rows of that role
        that the fold may not learn from have none.
        """
        named = labelers(self.spec, self.workspace.uses)
        if not named:
            return self.workspace
        may = self.workspace.training(self.held_out, ("pseudo",))
        rows, sources = self.workspace.battles, self.workspace.battles["source"]
        parts = [
            self._labels(source, each, rows.filter(may & (sources == source)))
            for source, each in named.items()
        ]
        return self.workspace.with_pseudo_labels(pl.concat(parts))

    def _labels(self, source: str, named: list[LearnerSpec], battles: pl.DataFrame) -> pl.DataFrame:
        place = self.kept / "labels" / source
        said = [self._ask(each, battles, place).astype(np.float64) for each in named]
        ties = self.workspace.ties
        shares = [softmax(leave_out_tie(logits, ties=ties), axis=1) for logits in said]
        labels = np.mean(shares, axis=0)
        columns = {name: labels[:, i] for i, name in enumerate(LABEL_COLUMNS)}
        return pl.DataFrame({"id": battles["id"], **columns})

    def _ask(self, other: LearnerSpec, battles: pl.DataFrame, place: Path) -> LogitArray:
        kept = place / f"{other.name}.parquet"
        if not kept.exists():
            model = self.workspace.store.load(other, self.held_out)
            where = f'learner "{self.spec.name}", {self.held_out.label}, asking "{other.name}"'
            seen = self.workspace.view(battles, other.privileged)
            logits = predict_validated(model, seen, where)
            write_table(kept, prediction_frame(battles["id"], logits))
        return read_logits(kept, battles["id"])


def check_fitted(
    workspace: Workspace, spec: LearnerSpec, keys: Mapping[tuple[str, HeldOut], str], does: str
) -> None:
    """Refuse to fit a learner before the fits that it asks are there.

    Parameters
    ----------
    workspace, spec
        What is to be fitted.
    keys
        Key of each fit that is asked, by learner and what it holds out.
    does
        What these do for the learner, in words that its name follows.

    Raises
    ------
    ArtifactError
        One is missing, or was made with other settings.
    """
    for (name, fit), key in keys.items():
        if not is_complete(workspace.store.directory(name, fit), key):
            raise ArtifactError(
                f'"{name}", which {does} "{spec.name}", is not fitted on {fit.name}',
                where=f'learner "{spec.name}"',
                hint=f"run `ensemble fit CONFIG --learner {name}` first",
            )


def doubts_of(store: FoldStore, fits: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give the doubts of fits, each with its learner's name, once.

    Parameters
    ----------
    store
        Where they are.
    fits
        Learner, and what names the fit.
    """
    told = [
        (name, text)
        for name, fit in fits
        for text in peek_manifest(store.directory(name, HeldOut.named(fit))).get("doubts", ())
    ]
    return list(dict.fromkeys(told))
