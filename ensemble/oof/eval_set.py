"""The rows that scores are made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS, labels_of

if TYPE_CHECKING:
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.plugin.base import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class EvalSet:
    """Labeled target rows with cluster and fold, in the order of the fold plan.

    Parameters
    ----------
    rows
        ``n`` battles: ``BATTLE_SCHEMA``, ``cluster``, ``fold``.
    """

    rows: pl.DataFrame

    @classmethod
    def of(cls, battles: pl.DataFrame, plan: FoldPlan) -> EvalSet:
        """Take the rows of a run that its plan holds out and that have a label."""
        places = plan.frame.filter(pl.col("fold").is_not_null()).select("id", "cluster", "fold")
        target = places.join(battles, on="id", how="inner", maintain_order="left")
        return cls(target.drop_nulls(LABEL_COLUMNS))

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, ids: pl.Series) -> EvalSet:
        """Keep the rows with these ids."""
        return EvalSet(self.rows.filter(pl.col("id").is_in(ids.implode())))

    @property
    def ids(self) -> pl.Series:
        """Id of each row, ``(n,)``."""
        return self.rows["id"]

    @property
    def labels(self) -> FloatArray:
        """Labels of the rows, ``(n, 3)`` in ``CLASSES`` order."""
        return labels_of(self.rows)

    @property
    def clusters(self) -> IntArray:
        """Cluster of each row, ``(n,)`` int64."""
        return self.rows["cluster"].to_numpy().astype(np.int64)

    @property
    def folds(self) -> IntArray:
        """The fold that holds each row out, ``(n,)`` int64."""
        return self.rows["fold"].to_numpy().astype(np.int64)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class among the labels, in ``CLASSES`` order."""
        return tuple(self.labels.mean(axis=0).tolist())

    @property
    def sources(self) -> list[str]:
        """Sources that occur, in order of first occurrence."""
        return self.rows["source"].unique(maintain_order=True).to_list()
