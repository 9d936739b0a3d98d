"""The rows of one fold: what it learns from, in each stage, and what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.corrections import corrected
from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import BATTLE_SCHEMA, labels_of, learner_view
from ensemble.errors import EnsembleError
from ensemble.oof.row_weights import LabeledBattles, weigh_rows
from ensemble.plugin.base import LEARNER_COLUMNS

if TYPE_CHECKING:
    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray


FEWEST_WATCHED = 20
"""Clusters that early stopping needs to tell anything."""


@dataclass(frozen=True)
class TrainingRows:
    """The rows of one stage of one fold, ready for a learner.

    Parameters
    ----------
    battles
        ``LEARNER_COLUMNS``.
    labels
        ``(n, 3)`` distributions.
    weight
        ``(n,)``.
    groups
        ``(n,)`` clusters.
    offset, eval_mask
        As in ``FitContext``.
    sources
        What the manifest says of each source.
    """

    battles: pl.DataFrame
    labels: FloatArray
    weight: FloatArray
    groups: IntArray
    offset: FloatArray | None = None
    eval_mask: BoolArray | None = None
    sources: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, workspace: Workspace, stage: pl.Series, target: pl.Series) -> TrainingRows:
        """Take the rows of a mask over the plan.

        Parameters
        ----------
        workspace
            The run's battles and plan.
        stage
            Mask of the rows that are learned from.
        target
            Mask of the fold's training rows of role ``target``, which the others are fitted to.
        """
        rows = _take(workspace, stage)
        weighed = weigh_rows(rows, _take(workspace, target), workspace.uses)
        is_target = (rows.battles["role"] == "target").to_numpy()
        return cls(
            learner_view(rows.battles),
            rows.labels,
            weighed.weight,
            rows.clusters,
            weighed.offset,
            is_target if is_target.any() and not is_target.all() else None,
            weighed.record,
        )

    def watched_apart_from(self, pretrain: TrainingRows) -> TrainingRows:
        """Judge by none of whose cluster there are rows for pre-training.

        They have been learned from in other words: early stopping would see a model that remembers
        them. Where fewer than ``FEWEST_WATCHED`` clusters would be left, nothing changes.
        """
        related = np.isin(self.groups, pretrain.groups)
        eval_mask = ~related if self.eval_mask is None else self.eval_mask & ~related
        enough = len(np.unique(self.groups[eval_mask])) >= FEWEST_WATCHED
        return replace(self, eval_mask=eval_mask) if related.any() and enough else self


@dataclass(frozen=True)
class FoldRows:
    """What one fold learns from and what it predicts; either side of rule 2."""

    train: TrainingRows
    pretrain: TrainingRows
    held_out: pl.DataFrame
    test: pl.DataFrame
    holdout: pl.DataFrame

    @property
    def asked(self) -> pl.DataFrame:
        """What is predicted beside the held-out rows: the test set, and what is kept to the end."""
        return pl.concat([self.test, self.holdout])

    @classmethod
    def of(cls, workspace: Workspace, fold: FoldLike) -> FoldRows:
        """Divide the battles as the plan says; a pair of folds predicts its rows alone."""
        battles, test = workspace.battles, workspace.test_rows()
        kept, is_pair = workspace.holdout_rows(), HeldOut.of(fold).is_pair
        target = workspace.training(fold, ("target",))
        return cls(
            train=TrainingRows.of(workspace, workspace.training(fold), target),
            pretrain=TrainingRows.of(workspace, workspace.training(fold, ("pretrain",)), target),
            held_out=learner_view(battles.filter(workspace.plan.held_out(fold))),
            test=learner_view(test.clear() if is_pair else test),
            holdout=learner_view(kept.clear() if is_pair else kept),
        )


def no_rows() -> TrainingRows:
    """Give the rows of what learns nothing."""
    battles = pl.DataFrame(schema={name: BATTLE_SCHEMA[name] for name in LEARNER_COLUMNS})
    numbers = np.zeros(0)
    return TrainingRows(battles, np.zeros((0, 3)), numbers, numbers.astype(np.int64))


def _take(workspace: Workspace, mask: pl.Series) -> LabeledBattles:
    rows = corrected(workspace.battles.filter(mask), workspace.corrections)
    clusters = workspace.plan.frame.filter(mask)["cluster"].to_numpy()
    labels = labels_of(rows)
    without = np.flatnonzero(np.isnan(labels).any(axis=1))
    if len(without):
        raise EnsembleError(
            f"{len(without):,} rows that would be learned from have no label",
            where=f'source "{rows["source"][int(without[0])]}", id {rows["id"][int(without[0])]}',
        )
    return LabeledBattles(rows, labels, clusters)
