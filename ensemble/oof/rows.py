"""The rows of one fold: what it learns from, in each stage, and what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.corrections import corrected
from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import BATTLE_SCHEMA, labels_of
from ensemble.errors import EnsembleError
from ensemble.oof.row_weights import LabeledBattles, weigh_rows
from ensemble.plugin.base import LEARNER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        ``LEARNER_COLUMNS``, and the learner's privileged columns.
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
    source
        ``(n,)`` the source of each row; None where nobody asks.
    """

    battles: pl.DataFrame
    labels: FloatArray
    weight: FloatArray
    groups: IntArray
    offset: FloatArray | None = None
    eval_mask: BoolArray | None = None
    sources: dict[str, Any] = field(default_factory=dict)
    source: pl.Series | None = None

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        stage: pl.Series,
        target: pl.Series,
        columns: Sequence[str] = (),
    ) -> TrainingRows:
        """Take the rows of a mask over the plan.

        Parameters
        ----------
        workspace
            The run's battles and plan.
        stage
            Mask of the rows that are learned from.
        target
            Mask of the fold's training rows of role ``target``, which the others are fitted to.
        columns
            Privileged columns that the learner sees.
        """
        rows = _take(workspace, stage)
        weighed = weigh_rows(rows, _take(workspace, target), workspace.uses)
        is_target = (rows.battles["role"] == "target").to_numpy()
        return cls(
            workspace.view(rows.battles, columns),
            rows.labels,
            weighed.weight,
            rows.clusters,
            weighed.offset,
            is_target if is_target.any() and not is_target.all() else None,
            weighed.record,
            rows.battles["source"],
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
    def of(cls, workspace: Workspace, fold: FoldLike, columns: Sequence[str] = ()) -> FoldRows:
        """Divide the battles as the plan says.

        Several folds at once predict their rows alone, and so does a learner with privileged
        columns: nobody has these at test time, whatever a test file says.
        """
        battles, test = workspace.battles, workspace.test_rows()
        kept = workspace.holdout_rows()
        alone = HeldOut.of(fold).is_joint or bool(columns)
        target = workspace.training(fold, ("target",))
        stages = [workspace.training(fold), workspace.training(fold, ("pretrain",))]
        train, pretrain = (TrainingRows.of(workspace, s, target, columns) for s in stages)
        held_out = battles.filter(workspace.plan.held_out(fold))
        return cls(
            train=train,
            pretrain=pretrain,
            held_out=workspace.view(held_out, columns),
            test=workspace.view(test.clear() if alone else test, columns),
            holdout=workspace.view(kept.clear() if alone else kept, columns),
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
