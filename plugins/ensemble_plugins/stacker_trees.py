"""The trees of the LightGBM stacker: the columns they see, and one early-stopped model a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import LearnerError
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.evaluation.ties import number_of_classes
from ensemble.stacking.logits import logits_of
from ensemble_plugins.binned_rows import WATCHED, BinnedRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightgbm as lgb

    from ensemble.plugin.base import BoolArray, FloatArray, IntArray, LogitArray, MetaFeatures

_MEAN = "mean of learners"
_VIEWS = ("A", "B", "tie", "A - B")
_VIEWS_WITHOUT_TIES = ("A - B",)


@dataclass(frozen=True)
class TrainingTable:
    """What the trees of every seed learn from.

    Parameters
    ----------
    columns
        ``(n, n_columns)`` float32.
    labels
        ``(n, k)`` distributions, of two classes in a task without ties.
    weight
        ``(n,)`` positive, with mean 1.
    clusters
        ``(n,)`` cluster of each row.
    start
        ``(n, k)`` logits to correct.
    """

    columns: LogitArray
    labels: FloatArray
    weight: FloatArray
    clusters: IntArray
    start: FloatArray

    def binned(self, settings: dict[str, Any]) -> BinnedRows:
        """Have LightGBM bin the rows; parameters as those of ``BinnedRows.of``."""
        return BinnedRows.of(self.columns, self.labels, self.weight, self.start, settings)


@dataclass(frozen=True)
class Trees:
    """One seed's model; None where no number of rounds beat the start."""

    booster: lgb.Booster | None

    @property
    def rounds(self) -> int:
        """How many rounds it keeps."""
        return 0 if self.booster is None else self.booster.current_iteration()

    def corrections(self, columns: LogitArray, classes: int = 3) -> FloatArray:
        """Give ``(n, classes)`` to add to the start's logits."""
        if self.booster is None or not len(columns):  # LightGBM gives no row another shape
            return np.zeros((len(columns), classes))
        return np.asarray(self.booster.predict(columns, raw_score=True, num_threads=1))

    def gain(self, n_columns: int) -> FloatArray:
        """Give the loss that splits on each column took away, ``(n_columns,)``."""
        if self.booster is None:
            return np.zeros(n_columns)
        return np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)


def both_orders(meta: MetaFeatures) -> MetaFeatures:
    """Stack the battles on top of the same battles with A and B exchanged."""
    swapped = meta.swapped()
    return replace(
        meta,
        logits=np.concatenate([meta.logits, swapped.logits]),
        features=np.concatenate([meta.features, swapped.features]),
    )


def columns_of(
    meta: MetaFeatures, learners: Sequence[str], feature_names: Sequence[str]
) -> LogitArray:
    """Lay out what the trees see, in the order of ``column_names``.

    A tree splits on one column at a time, so it gets the differences (A - B) and the mean of the
    learners ready-made.

    Raises
    ------
    LearnerError
        A feature that the model was fitted on is not there.
    """
    missing = [name for name in feature_names if name not in meta.feature_names]
    if missing:
        raise LearnerError(f"features are missing: {', '.join(missing)}", where="lightgbm stacker")
    views = np.empty((len(meta), len(learners) + 1, len(views_of(meta))), dtype=np.float32)
    total = np.zeros((len(meta), number_of_classes(ties=meta.ties)))
    # One after the other, and filled in place: with many learners each copy is large.
    for i, name in enumerate(learners):
        logits = logits_of(meta, [name])[:, 0]
        total += logits
        _fill(views[:, i], logits)
    _fill(views[:, -1], total / len(learners))
    order = [meta.feature_names.index(name) for name in feature_names]
    flat = views.reshape(len(meta), views.shape[1] * views.shape[2])
    return np.concatenate([flat, meta.features[:, order]], axis=1) if order else flat


def _fill(views: LogitArray, logits: FloatArray) -> None:
    views[:, :-1] = logits[:, : views.shape[1] - 1]
    views[:, -1] = logits[:, 0] - logits[:, 1]


def views_of(meta: MetaFeatures) -> tuple[str, ...]:
    """Name what the trees see of each learner; without ties, one number says all."""
    return _VIEWS if meta.ties else _VIEWS_WITHOUT_TIES


def column_names(
    learners: Sequence[str], feature_names: Sequence[str], views: Sequence[str] = _VIEWS
) -> list[str]:
    """Name the columns: the views of each learner and of their mean, then the features."""
    names = [f"{learner}: {view}" for learner in (*learners, _MEAN) for view in views]
    return [*names, *feature_names]


def fit_trees(
    table: TrainingTable,
    binned: BinnedRows,
    settings: dict[str, Any],
    *,
    rounds: int,
    patience: int,
    inner_fraction: float,
    seed: int,
) -> Trees:
    """Boost from the start, and stop where the inner clusters gain no more.

    Parameters
    ----------
    table, binned
        Rows to learn from, and the same as LightGBM has them.
    settings
        LightGBM's parameters, as the rows were binned with.
    rounds, patience
        Most rounds, and rounds without gain before it stops.
    inner_fraction
        Share of clusters to stop on.
    seed
        Decides the inner clusters and LightGBM's own draws.

    Returns
    -------
    Trees
        As many rounds as did best on the inner clusters, possibly none.
    """
    import lightgbm as lgb

    inner = holdout_split(table.clusters, inner_fraction, seed)
    booster = binned.train(
        ~inner, inner, {**settings, "seed": seed}, rounds=rounds, patience=patience
    )
    if booster.best_score[WATCHED]["multi_logloss"] >= _start_loss(table, inner):
        return Trees(None)
    # The kept rounds alone, without the datasets, exactly as they will be stored.
    return Trees(lgb.Booster(model_str=booster.model_to_string(booster.best_iteration)))


def holdout_split(clusters: IntArray, fraction: float, seed: int) -> BoolArray:
    """Mark about ``fraction`` of the clusters, whole ones: ``(n,)``.

    Raises
    ------
    LearnerError
        There are fewer than two clusters.
    """
    known = np.unique(clusters)
    if len(known) < 2:
        raise LearnerError(
            "cannot carve out clusters for early stopping: there is only one",
            where="lightgbm stacker",
            hint="use more battles, or fewer folds",
        )
    count = int(np.clip(round(fraction * len(known)), 1, len(known) - 1))
    chosen = np.random.default_rng(seed).choice(known, size=count, replace=False)
    return np.isin(clusters, chosen)


def _start_loss(table: TrainingTable, rows: BoolArray) -> float:
    losses = row_log_loss(table.labels[rows], softmax(table.start[rows]))
    return float(np.average(losses, weights=table.weight[rows]))
